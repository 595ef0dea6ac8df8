"""Operations on brightness and colour: the arithmetic of torchvision's uint8 tensor kernels, image by image.

`torch.add(alpha=)` and `torch.addcmul` round once (a fused multiply-add); so do torchvision's blends.
"""

import torch
from torch import Tensor

_GRAY = (0.2989, 0.587, 0.114)


def look_up(images: Tensor, luts: Tensor) -> Tensor:
    """Replace each byte of (B, C, H, W) by its entry in that image's and channel's table (B, C, 256)."""
    count, channels = images.shape[:2]
    first = torch.arange(0, count * channels * 256, 256, dtype=torch.int32, device=images.device)
    places = images.int() + first.view(count, channels, 1, 1)
    return luts.reshape(-1).index_select(0, places.view(-1)).view_as(images)


def gray(images: Tensor) -> Tensor:
    """Return the brightness of uint8 (B, 3, H, W) as float32 whole numbers (B, H, W)."""
    red, green, blue = images.float().unbind(1)
    return torch.add(torch.add(red * _GRAY[0], green, alpha=_GRAY[1]), blue, alpha=_GRAY[2]).floor_()


def saturate(images: Tensor, ratio: Tensor, alpha: Tensor) -> Tensor:
    """Blend each image with its grey version: ratio * image + alpha * grey."""
    return _to_bytes(torch.addcmul(images * ratio, gray(images)[:, None], alpha))


def sharpen(images: Tensor, alpha: Tensor) -> Tensor:
    """Blend each image but its border with its 3x3 smoothed version (centre 5, neighbours 1, over 13)."""
    x = images.to(torch.int16)
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    inner = x[:, :, 1:-1, 1:-1]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner
    smooth = ((total + 6).float() * (1 / 13)).floor_()  # rounds total / 13: it is never near a half
    inner = inner.float()
    out = images.clone()
    out[:, :, 1:-1, 1:-1] = _to_bytes(torch.addcmul(inner, smooth.sub_(inner), alpha))
    return out


def contrast_luts(images: Tensor, ratio: Tensor, alpha: Tensor) -> Tensor:
    """Return the tables (B, C, 256) that blend each image with its mean brightness."""
    mean = gray(images).flatten(1).mean(1).view(-1, 1)
    luts = torch.addcmul(_ramp(images) * ratio.view(-1, 1), mean.expand(-1, 256), alpha.view(-1, 1))
    return _to_bytes(luts)[:, None].expand(-1, images.shape[1], -1)


def autocontrast_luts(images: Tensor) -> Tensor:
    """Return the tables (B, C, 256) that stretch each channel from its darkest to its brightest value."""
    flat = images.flatten(2)
    low, high = flat.amin(2, keepdim=True).float(), flat.amax(2, keepdim=True).float()
    flat_channel = low == high
    scale = torch.where(flat_channel, 1.0, (high - low) * (1 / 255))
    return _to_bytes((_ramp(images) - torch.where(flat_channel, 0.0, low)) / scale)


def equalize_luts(images: Tensor) -> Tensor:
    """Return the tables (B, C, 256) that make each channel's histogram flat."""
    planes = images.flatten(0, 1).flatten(1).long()
    count, pixels = planes.shape
    histogram = torch.zeros(count, 256, dtype=torch.int64, device=images.device)
    histogram.scatter_add_(1, planes, torch.ones_like(planes))
    brightest = 255 - (histogram.flip(1) > 0).int().argmax(1, keepdim=True)
    step = (pixels - histogram.gather(1, brightest)) // 255
    below = histogram.cumsum(1) - histogram
    luts = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    luts = torch.where(step > 0, luts, torch.arange(256, device=images.device))
    return luts.to(torch.uint8).view(*images.shape[:2], 256)


def _ramp(images: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=images.device)


def _to_bytes(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)
