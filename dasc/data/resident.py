"""Loaders over images that already are on the device: each process takes its share, and no image is copied twice."""

from collections.abc import Iterator

import torch

from dasc.data.batch import Batch
from dasc.data.sets import ImageSet
from dasc.seeding import mix


class TrainingLoader:
    """Every epoch in an order of its own, the same on all processes; each takes every `world_size`-th image of a batch.

    The last images of an order that do not fill a batch are left out: no image comes twice in an epoch.

    Args:
        images: The training images.
        batch_size: Images of one optimizer step over all processes.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes; divides `batch_size`.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._images = images
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    @property
    def sampler(self) -> "TrainingLoader":
        """The loader itself: Lightning calls `loader.sampler.set_epoch` before every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._images.targets) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(mix(self._seed, self._epoch))
        order = torch.randperm(len(self._images.targets), generator=generator).to(self._images.targets.device)
        for number in range(len(self)):
            batch = order[number * self._batch_size : (number + 1) * self._batch_size]
            yield _batch(self._images, batch[self._rank :: self._world_size], number)


class EvaluationLoader:
    """Every image once, in order; all processes have equally many batches, their sizes differ by one at most.

    Args:
        images: The images.
        batch_size: Images of one batch over all processes, at most.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, images: ImageSet, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self._images = images
        shortest, longest = len(images.targets) // world_size, -(-len(images.targets) // world_size)
        self._count = min(-(-longest // max(batch_size // world_size, 1)), max(shortest, 1))  # none is empty
        self._mine = torch.arange(rank, len(images.targets), world_size, device=images.targets.device)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        for number, part in enumerate(self._mine.tensor_split(self._count)):
            yield _batch(self._images, part, number)


def _batch(images: ImageSet, indices: torch.Tensor, number: int) -> Batch:
    return Batch(images.images.index_select(0, indices), images.targets.index_select(0, indices), indices, number)
