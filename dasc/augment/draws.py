"""What is random about an epoch, drawn at once on the CPU: the same on every device, nothing to save for a resume."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dasc.augment.operations import BINS, OPERATIONS
from dasc.stages import Magnitude


class Draws(NamedTuple):
    """The draws of n images; RandAugment applies two operations to each (N = 2).

    They do not depend on the magnitude: `magnitude` is what an image has where M is `random`.
    """

    operation: Tensor
    """int64 (n, 2), places in `OPERATIONS`."""
    negative: Tensor
    """bool (n, 2), the signs."""
    magnitude: Tensor
    """int64 (n,), 0..30."""
    flip: Tensor
    """bool (n,)."""
    shift: Tensor
    """float32 (n, 2) in [0, 1): vertical and horizontal place of the crop."""
    hole: Tensor
    """float32 (n, 2) in [0, 1): vertical and horizontal place of the middle of cutout's hole."""

    def rows(self, start: int, end: int) -> "Draws":
        """Return the draws of images start..end - 1."""
        return Draws(*(column[start:end] for column in self))

    def at(self, places: Tensor) -> "Draws":
        """Return the draws of the images at `places`, int64 (m,)."""
        return Draws(*(column[places] for column in self))


def draw(count: int, generator: torch.Generator) -> Draws:
    """Draw for `count` images, everything uniform and independent."""
    return Draws(
        operation=torch.randint(len(OPERATIONS), (count, 2), generator=generator),
        negative=torch.rand(count, 2, generator=generator, dtype=torch.float32) <= 0.5,
        magnitude=torch.randint(BINS, (count,), generator=generator),
        flip=torch.rand(count, generator=generator, dtype=torch.float32) < 0.5,
        shift=torch.rand(count, 2, generator=generator, dtype=torch.float32),
        hole=torch.rand(count, 2, generator=generator, dtype=torch.float32),
    )


def concatenate(draws: Sequence[Draws]) -> Draws:
    """Return several draws as one, after each other."""
    return Draws(*(torch.cat(columns) for columns in zip(*draws, strict=True)))


def magnitudes(draws: Draws, magnitude: Magnitude) -> Tensor:
    """Return each image's bin, int64 (n,), under an M that is 0..30 or `random`."""
    if magnitude == "random":
        return draws.magnitude
    return torch.full_like(draws.magnitude, int(magnitude))
