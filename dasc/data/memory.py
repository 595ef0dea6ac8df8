"""Bringing a set into memory as uint8, and what is measured there."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from dasc.data.decode import BrokenFilesError, decode_all
from dasc.data.sets import AnySet, FileSet, ImageSet
from dasc.preprocessing import Interpolation

DEVICE_LIMIT = 2**30
"""Bytes of uint8 images that `on_device: auto` brings to the device."""

MEASURED = 10_000
"""Training images at most that mean and standard deviation are measured on."""

_MEASURED_TOGETHER = 2**27
"""Bytes of uint8 images at most that are measured at once, in float64."""


def bytes_of(images: int, size: tuple[int, int]) -> int:
    """Return the bytes of uint8 RGB images."""
    return images * 3 * size[0] * size[1]


def in_memory(
    images: AnySet, size: tuple[int, int], margin: float = 1.0, interpolation: Interpolation = "bilinear"
) -> ImageSet:
    """Decode files, or resize arrays, to (N, 3, *size); the middle is kept where the shape differs.

    Args:
        images: The set.
        size: Height and width.
        margin: See `decode_whole`; for files.
        interpolation: Interpolation of the resizing.
    """
    if isinstance(images, FileSet):
        return ImageSet(decode_all(images.paths, size, margin, interpolation), images.targets)
    if images.images.shape[-2:] == size:
        return images
    resized = [_resize(part, size, interpolation) for part in images.images.split(1024)]
    return ImageSet(torch.cat(resized), images.targets)


def _resize(images: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    height, width = images.shape[-2:]
    scale = min(height / size[0], width / size[1])
    middle = F.center_crop(images, [round(size[0] * scale), round(size[1] * scale)])
    resized: Tensor = F.resize(middle, list(size), InterpolationMode(interpolation), antialias=True)
    return resized


def mean_and_std(images: AnySet, size: tuple[int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel in [0, 1], of at most 10,000 images evenly through the set.

    Raises:
        BrokenFilesError: Some files cannot be read; it names all of those that were measured.
    """
    step = -(-len(images.targets) // MEASURED)
    some = images.subset(torch.arange(0, len(images.targets), step))
    count, total, squares = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    broken: dict[str, str] = {}
    together = min(500, max(1, _MEASURED_TOGETHER // bytes_of(1, size)))
    for start in range(0, len(some.targets), together):
        part = some.subset(torch.arange(start, min(start + together, len(some.targets))))
        try:
            values = in_memory(part, size).images.double() / 255
        except BrokenFilesError as error:
            broken |= error.broken
            continue
        count += values[:, 0].numel()
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    if broken:
        raise BrokenFilesError(broken)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return tuple(round(x, 4) for x in mean.tolist()), tuple(round(x, 4) for x in std.tolist())
