"""From image files to uint8 tensors of one size."""

import math
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dasc.errors import UserError

_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow raises of a file that is no image."""

warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow only warns up to twice its limit

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the file."""


def size_of(path: str) -> tuple[int, int]:
    """Return height and width without decoding the image."""
    with _opened(path) as image:
        return image.height, image.width


def decode_all(paths: Sequence[str], size: tuple[int, int]) -> Tensor:
    """Decode files, in threads, into uint8 (N, 3, *size)."""
    images = torch.empty(len(paths), 3, *size, dtype=torch.uint8)

    def decode(place: int) -> None:
        images[place] = decode_whole(paths[place], size)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(decode, range(len(paths))))
    return images


def decode_whole(path: str, size: tuple[int, int], margin: float = 1.0) -> Tensor:
    """Decode the middle of an image into uint8 (3, *size).

    Args:
        path: The file; grey becomes three equal channels.
        size: Height and width.
        margin: The image is brought to `margin` times this size, and its middle is taken: 256 / 224 is ImageNet's.
    """
    with _opened(path) as image:
        scale = min(image.height / size[0], image.width / size[1]) / margin
        height, width = size[0] * scale, size[1] * scale
        top, left = (image.height - height) / 2, (image.width - width) / 2
        return _resized(image, size, (left, top, left + width, top + height), path)


def decode_crop(path: str, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Decode a random part of an image into uint8 (3, *size).

    The part has 8 to 100 % of the area and a shape of 3:4 to 4:3, as Inception was trained.

    References:
        https://arxiv.org/abs/1409.4842; torchvision.transforms.v2.RandomResizedCrop.
    """
    with _opened(path) as image:
        return _resized(image, size, random_box(image.height, image.width, generator), path)


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


def _opened(path: str) -> Image.Image:
    try:
        return Image.open(path)
    except _BROKEN as error:
        raise _no_image(path, error) from None


def _resized(image: Image.Image, size: tuple[int, int], box: Box, path: str) -> Tensor:
    try:
        colour = _in_colour(image).resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
    except _BROKEN as error:
        raise _no_image(path, error) from None
    return torch.from_numpy(np.array(colour)).permute(2, 0, 1)


def _in_colour(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257 + 0.5).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _no_image(path: str, error: Exception) -> UserError:
    reason = " ".join(str(error).replace(path, "").split())
    return UserError(f"{path} cannot be read as an image ({reason}): repair or remove it")
