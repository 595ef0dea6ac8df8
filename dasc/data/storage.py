"""Where the images of a data set are kept, and the loaders over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dasc.data.decode import BrokenFilesError, evaluation_margin
from dasc.data.memory import DEVICE_LIMIT, bytes_of, in_memory
from dasc.data.order import EvaluationOrder, TrainingOrder
from dasc.data.process import Process
from dasc.data.resident import ResidentLoader
from dasc.data.sets import AnySet, ImageSet
from dasc.data.source import Source
from dasc.data.streamed import StreamedLoader
from dasc.errors import UserError
from dasc.machine import cores
from dasc.seeding import run_seed

Loader = ResidentLoader | StreamedLoader


@dataclass(frozen=True)
class Storage:
    """The images of a source in memory, on the device, or streamed from files.

    Args:
        source: The images. Decoded images replace the files in it.
        files: Whether each image is a file.
        image_size: Height and width that images are resized to.
        crop: `pad`, `resize`, `none` or, by default, None; see `ImageData`.
        on_device: Whether the images are kept on the device; `auto`: if they take less than 1 GiB.
        num_workers: Processes that decode streamed images; None: one for each core of this process, at most 16.
    """

    source: Source
    files: bool
    image_size: tuple[int, int]
    crop: str | None
    on_device: bool | Literal["auto"]
    num_workers: int | None

    @property
    def resident(self) -> bool:
        """Whether the images are kept on the device."""
        if self.on_device == "auto":
            count = sum(len(part.targets) for part in self.source.read().values())
            return bytes_of(count, self.image_size) < DEVICE_LIMIT
        return self.on_device

    @property
    def streamed(self) -> bool:
        """Whether the images are decoded batch by batch."""
        return self.files and not self.resident

    @property
    def cropping(self) -> str:
        """How training images are cropped: `crop`, or its default (`resize` for streamed images, else `pad`)."""
        return self.crop or ("resize" if self.streamed else "pad")

    def decode(self, names: Sequence[str]) -> None:
        """Decode or resize the parts that are kept in memory.

        Raises:
            UserError: A part has no images, or some files cannot be read; it names all of them.
        """
        sets, broken = self.source.read(), dict[str, str]()
        for name in names:
            if name not in sets:
                raise UserError(
                    f"there are no {name} images under {self.source.root}: put them into class folders in {name}/"
                )
            part = sets[name]
            if self.resident or isinstance(part, ImageSet):
                try:
                    sets[name] = in_memory(part, self.image_size, self._margin, self.source.interpolation)
                except BrokenFilesError as error:
                    broken |= error.broken
        if broken:
            raise BrokenFilesError(broken)

    def bytes_in_memory(self, names: Sequence[str]) -> int:
        """Return the bytes of the images of these parts that are kept in memory; streamed ones take none."""
        parts = [part for name, part in self.source.read().items() if name in names]
        return sum(bytes_of(len(p.targets), self.image_size) for p in parts if self.resident or isinstance(p, ImageSet))

    def part(self, name: str, device: torch.device) -> AnySet:
        """Return the images of a part; decode them and move them to the device on first use."""
        self.decode((name,))
        sets = self.source.read()
        part = sets[name]
        if self.resident and isinstance(part, ImageSet):
            part = sets[name] = part.to(device)
        return part

    def images_at(self, name: str, indices: Tensor) -> Tensor:
        """Return some images of a part, prepared as evaluated images are: uint8 (N, 3, *image_size) on the CPU.

        Args:
            name: The part; the others of its images are not decoded.
            indices: Places in it, int64 (N,).
        """
        part = self.source.read()[name].subset(indices)
        return in_memory(part, self.image_size, self._margin, self.source.interpolation).images.cpu()

    def loader(self, name: str, order: TrainingOrder | EvaluationOrder, process: Process) -> Loader:
        """Return the batches of a part in an order; those of `train` are cropped at random if the crop is `resize`."""
        part = self.part(name, process.device)
        if isinstance(part, ImageSet):
            return ResidentLoader(part, order)
        return StreamedLoader(
            part,
            self.image_size,
            order,
            seed=run_seed(),
            random_crop=name == "train" and self.cropping == "resize",
            margin=self._margin,
            num_workers=self._workers(process.world_size),
            pin_memory=process.device.type == "cuda",
            interpolation=self.source.interpolation,
        )

    @property
    def _margin(self) -> float:
        """How much larger than their middle, which is kept, evaluated images are made."""
        return evaluation_margin(self.cropping)

    def _workers(self, world_size: int) -> int:
        if self.num_workers is not None:
            return self.num_workers
        return min(16, max(1, cores() // world_size))
