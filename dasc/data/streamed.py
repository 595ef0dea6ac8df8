"""Loaders over image files: workers decode and crop to uint8, everything else happens on the device."""

import traceback
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dasc.data.batch import Batch
from dasc.data.decode import BrokenFilesError, decode_crop, decode_whole
from dasc.data.order import Order, OrderedLoader
from dasc.data.sets import FileSet
from dasc.errors import UserError
from dasc.preprocessing import Interpolation
from dasc.seeding import Stream, mix

Key = tuple[int, int]
"""An image's place in the set, and the seed of its crop."""


class _Decoded(Dataset[tuple[Tensor, Tensor, int]]):
    """Decodes by key: what a worker draws depends on the key alone, not on the worker or its past."""

    def __init__(
        self, files: FileSet, size: tuple[int, int], random_crop: bool, margin: float, interpolation: Interpolation
    ) -> None:
        self._files = files
        self._size = size
        self._random_crop = random_crop
        self._margin = margin
        self._interpolation = interpolation

    def __getitems__(self, keys: list[Key]) -> list[tuple[Tensor, Tensor, int]]:
        """Return the images of a batch.

        Raises:
            UserError: Some cannot be read; it names all of the batch.
        """
        images, broken = [], dict[str, str]()
        for key in keys:
            try:
                images.append(self[key])
            except UserError as error:
                broken[self._files.paths[key[0]]] = str(error)
        if broken:
            raise UserError(str(BrokenFilesError(broken)))  # a worker's error is made again from its text
        return images

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, int]:
        place, seed = key
        path = self._files.paths[place]
        if self._random_crop:
            image = decode_crop(path, self._size, torch.Generator().manual_seed(seed), self._interpolation)
        else:
            image = decode_whole(path, self._size, self._margin, self._interpolation)
        return image, self._files.targets[place], place


class _Keys(Sampler[list[Key]]):
    """The batches of one process as lists of keys."""

    def __init__(self, batches: Sequence[Tensor], seed: int, epoch: int) -> None:
        self._batches = batches
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self._batches:
            yield [(place, mix(Stream.CROP, self._seed, self._epoch, place)) for place in batch.tolist()]


class StreamedLoader(OrderedLoader):
    """Batches of decoded images, in an order that somebody else decides.

    Args:
        files: The images.
        size: Height and width that they are brought to.
        order: Which images make which batch of this process.
        seed: Seed of the run.
        random_crop: Whether a random part of each image is taken, another one every epoch; else the middle.
        margin: See `decode_whole`.
        num_workers: Processes that decode; 0 decodes in the main process.
        pin_memory: Whether batches are laid where a GPU fetches them without waiting.
        interpolation: Interpolation of the resizing.
    """

    def __init__(
        self,
        files: FileSet,
        size: tuple[int, int],
        order: Order,
        seed: int,
        random_crop: bool,
        margin: float,
        num_workers: int,
        pin_memory: bool,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        super().__init__(order)
        self._seed = seed
        self._decoded = _Decoded(files, size, random_crop, margin, interpolation)
        self._num_workers = num_workers
        self._pin_memory = pin_memory

    def __iter__(self) -> Iterator[Batch]:
        # a generator: workers start at the first batch, after Lightning has set the epoch
        numbers, batches = self._remaining()
        keys = _Keys(batches, self._seed, self._epoch)
        loader = DataLoader(
            self._decoded,
            batch_sampler=keys,
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            prefetch_factor=4 if self._num_workers else None,
        )
        try:
            for number, (images, targets, places) in zip(numbers, loader, strict=True):
                self._returned = number + 1
                yield Batch(images, targets, places, number)
        except UserError as error:
            # a worker's error comes with its traceback in front; what the frames hold keeps the workers alive
            traceback.clear_frames(error.__traceback__)
            raise UserError(str(error).strip().rsplit("UserError: ", 1)[-1]) from None
