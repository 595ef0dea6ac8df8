"""The data sets that dasc knows by name, and what is known of each before it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class ImageSet(NamedTuple):
    """Images with their classes, in memory."""

    images: Tensor
    """uint8 (N, 3, H, W)."""
    targets: Tensor
    """int64 (N,)."""

    def subset(self, indices: Tensor) -> "ImageSet":
        """Return the images at `indices` (int64), in that order."""
        return ImageSet(self.images[indices], self.targets[indices])

    def to(self, device: torch.device) -> "ImageSet":
        """Return the set on a device."""
        return ImageSet(self.images.to(device), self.targets.to(device))


@dataclass(frozen=True)
class SetInfo:
    """What is known of a data set before it is read.

    Args:
        class_names: Names of the classes in the order of their numbers.
        image_size: Height and width.
        mean: Mean of each channel in [0, 1].
        std: Standard deviation of each channel in [0, 1].
        flip: Whether an image mirrored left to right keeps its class.
        validation: Share of the training images that is carved off for validation.
        read: Returns the training and the test images.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool
    validation: float
    read: Callable[[], tuple[ImageSet, ImageSet]]


def _digits() -> tuple[ImageSet, ImageSet]:
    """Read the 1797 digits that ship with scikit-learn: 8x8 scans with values 0..16; a fifth, stratified, is test."""
    from sklearn.datasets import load_digits

    from dasc.data.splits import stratified_split

    digits = load_digits()
    grey = torch.from_numpy(np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8))
    everything = ImageSet(grey[:, None].repeat(1, 3, 1, 1), torch.from_numpy(digits.target).long())
    train, test = stratified_split(everything.targets, 0.2, seed=0)  # not the user's seed: the test images never change
    return everything.subset(train), everything.subset(test)


DATASETS = {
    "digits": SetInfo(
        class_names=tuple("0123456789"),
        image_size=(8, 8),
        mean=(0.3053,) * 3,
        std=(0.3759,) * 3,
        flip=False,
        validation=0.2,
        read=_digits,
    ),
}
"""By the name that `ImageData(dataset=...)` takes."""
