"""From image files to uint8 tensors of one size."""

import math
import os
import struct
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from dasc.errors import UserError, one_line
from dasc.preprocessing import Interpolation

_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow raises of a file that is no image."""

warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow only warns up to twice its limit

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the upright image."""

NAMED = 3
"""Paths at most that the error about broken files names."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that turns an image upright, by EXIF orientation."""

_SWAPS_SIDES = (5, 6, 7, 8)

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class BrokenFilesError(UserError):
    """Files that cannot be read as images.

    Args:
        broken: Error message of each file by its path.
    """

    def __init__(self, broken: Mapping[str, str]) -> None:
        self.broken = dict(broken)
        paths = list(broken)
        if len(paths) == 1:
            super().__init__(broken[paths[0]])
            return
        named = ", ".join(paths[:NAMED] + ["..."] * (len(paths) > NAMED))
        super().__init__(f"{len(paths)} files cannot be read as images ({named}): repair or remove them")


def size_of(path: str) -> tuple[int, int]:
    """Return height and width of the upright image from the header of its file."""
    with _open(path) as image:
        # Pillow swaps the sides of a TIFF file itself
        swapped = image.format != "TIFF" and _orientation(image) in _SWAPS_SIDES
        return (image.width, image.height) if swapped else (image.height, image.width)


def evaluation_margin(crop: str) -> float:
    """Return the margin of evaluated images, for `decode_whole`, in a run whose training images have this crop."""
    return 256 / 224 if crop == "resize" else 1.0


def decode_all(
    paths: Sequence[str], size: tuple[int, int], margin: float = 1.0, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Decode the middle of files, in threads, into uint8 (N, 3, *size); see `decode_whole`.

    Raises:
        BrokenFilesError: Some files cannot be read; it names them after all files have been tried.
    """
    images = torch.empty(len(paths), 3, *size, dtype=torch.uint8)

    def decode(place: int) -> str | None:
        try:
            images[place] = decode_whole(paths[place], size, margin, interpolation)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        errors = threads.map(decode, range(len(paths)))
        broken = {path: error for path, error in zip(paths, errors, strict=True) if error is not None}
    if broken:
        raise BrokenFilesError(broken)
    return images


def decode_whole(
    path: str, size: tuple[int, int], margin: float = 1.0, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Decode the middle of an image into uint8 (3, *size).

    Args:
        path: The file; grey becomes three equal channels.
        size: Height and width.
        margin: The image is brought to `margin` times this size, and its middle is taken: 256 / 224 is ImageNet's.
        interpolation: Interpolation of the resizing.
    """
    image = _upright(path)
    scale = min(image.height / size[0], image.width / size[1]) / margin
    # min: size * (height / size) may be over the height by a rounding error
    height, width = min(size[0] * scale, image.height), min(size[1] * scale, image.width)
    top, left = (image.height - height) / 2, (image.width - width) / 2
    return _resize(image, size, (left, top, left + width, top + height), interpolation)


def decode_crop(
    path: str, size: tuple[int, int], generator: torch.Generator, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Decode a random part of an image into uint8 (3, *size).

    The part has 8 to 100 % of the area and a shape of 3:4 to 4:3, as Inception was trained.

    References:
        https://arxiv.org/abs/1409.4842; torchvision.transforms.v2.RandomResizedCrop.
    """
    image = _upright(path)
    return _resize(image, size, random_box(image.height, image.width, generator), interpolation)


def random_box(height: int, width: int, generator: torch.Generator) -> Box:
    """Draw the part of an image that a random resized crop takes; after 10 misses, the largest one in its middle."""
    for _ in range(10):
        area, shape, down, right = torch.rand(4, generator=generator).tolist()
        area = height * width * (0.08 + 0.92 * area)
        ratio = math.exp(math.log(3 / 4) + shape * (math.log(4 / 3) - math.log(3 / 4)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(right * (width - wide + 1)), int(down * (height - high + 1))
            return left, top, left + wide, top + high
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _open(path: str) -> Image.Image:
    try:
        return Image.open(path)
    except _BROKEN as error:
        raise _no_image(path, error) from None


def _upright(path: str) -> Image.Image:
    """Decode an image to RGB and apply its EXIF orientation."""
    with _open(path) as image:
        try:
            colour = _in_colour(image)
        except _BROKEN as error:
            raise _no_image(path, error) from None
        transposition = _UPRIGHT.get(_orientation(image))
    return colour if transposition is None else colour.transpose(transposition)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) where there is none or the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*_BROKEN, KeyError, TypeError, struct.error):
        return 1


def _resize(image: Image.Image, size: tuple[int, int], box: Box, interpolation: Interpolation) -> Tensor:
    resized = image.resize((size[1], size[0]), _RESAMPLING[interpolation], box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def _in_colour(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257 + 0.5).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _no_image(path: str, error: Exception) -> UserError:
    reason = one_line(str(error).replace(path, ""))
    return UserError(f"{path} cannot be read as an image ({reason}): repair or remove it")
