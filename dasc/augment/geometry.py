"""Images whose pixels come from other places."""

import torch
from torch import Tensor

from dasc.augment.draws import Draws


def take(images: Tensor, source: Tensor) -> Tensor:
    """Fill each image from places in itself.

    Args:
        images: uint8 (B, C, H, W), contiguous.
        source: int32 (B, H * W), the pixel that comes to each place; -1 leaves it black.

    Returns:
        uint8 (B, C, H, W).
    """
    count, channels, height, width = images.shape
    pixels = height * width
    planes = torch.arange(0, count * channels * pixels, pixels, dtype=torch.int32, device=images.device)
    places = source.clamp(min=0)[:, None] + planes.view(count, channels, 1)
    # index_select copies whole elements by an int32 index, several times faster than advanced indexing
    taken = images.view(-1).index_select(0, places.view(-1)).view(count, channels, pixels)
    return taken.mul_((source >= 0)[:, None].view(torch.uint8)).view_as(images)


def crop_and_flip(images: Tensor, draws: Draws, padding: int, flip: bool) -> Tensor:
    """Shift each image by up to `padding` pixels, black outside, and mirror it left to right or not.

    Args:
        images: uint8 (B, C, H, W), contiguous.
        draws: The draws of the B images, on the CPU.
        padding: Pixels on each side, at least 0: the crop lies at one of (2 * padding + 1)**2 places.
        flip: Whether images are mirrored where `draws` says so.
    """
    if not padding and not flip:
        return images
    height, width = images.shape[-2:]
    shift = (draws.shift * (2 * padding + 1)).int() - padding
    rows = torch.arange(height, dtype=torch.int32) + shift[:, :1]
    columns = torch.arange(width, dtype=torch.int32).expand(len(shift), width)
    if flip:
        columns = torch.where(draws.flip[:, None], columns.flip(1), columns)
    columns = columns + shift[:, 1:]
    rows = rows.to(images.device, non_blocking=True)
    columns = columns.to(images.device, non_blocking=True)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    source = torch.where(inside, rows[:, :, None] * width + columns[:, None, :], -1)
    return take(images, source.view(len(shift), -1))


def cutout(images: Tensor, draws: Draws, size: int) -> Tensor:
    """Cut a square hole into each image: its values become 0, which is the mean of normalised images.

    Args:
        images: Floating (B, C, H, W).
        draws: The draws of the B images, on the CPU.
        size: Side of the hole in pixels, at least 1. Its middle lies anywhere in the image, so a part may be outside.

    References:
        DeVries, Taylor, https://arxiv.org/abs/1708.04552
    """
    height, width = images.shape[-2:]
    first = (draws.hole * torch.tensor([height, width])).int() - size // 2
    rows, columns = (
        _inside(first[:, axis : axis + 1], size, side).to(images.device, non_blocking=True)
        for axis, side in enumerate((height, width))
    )
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _inside(first: Tensor, size: int, side: int) -> Tensor:
    places = torch.arange(side, dtype=torch.int32)
    return (places >= first) & (places < first + size)
