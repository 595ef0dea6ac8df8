"""RandAugment on a batch: two operations an image, each image its own.

Every operation is one of four things: take pixels from elsewhere, look bytes up, blend, or filter 3x3. What depends on
(operation, bin, sign) alone is made once by torchvision's own kernels; the rest repeats their arithmetic, rounding
included, so that on the CPU the result equals theirs bit for bit. (One exception: where 3 * H * W is no multiple of 16,
as at 7x9, torch rounds the last bytes of an image in Contrast another way than all others; they may differ by 1.)
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from dasc.augment.draws import Draws, magnitudes
from dasc.augment.geometry import take
from dasc.augment.operations import BINS, OPERATIONS, Kind
from dasc.augment.tone import look_up
from dasc.stages import Magnitude

_CACHED = 2**20
"""Bytes of images that a CPU augments at once: what is made of them on the way stays in its cache."""

_BY_KIND = {kind: [o for o in OPERATIONS if o.kind is kind] for kind in Kind}
_PLACE = torch.tensor([_BY_KIND[operation.kind].index(operation) for operation in OPERATIONS])
_LUT_KERNELS = [o.kernel for o in _BY_KIND[Kind.IMAGE_LUT] if o.kernel]
_IMAGE_KERNELS = [o.kernel for o in _BY_KIND[Kind.IMAGE] if o.kernel]
_GROUPS = [Kind.COPY, Kind.MAP, Kind.LUT, *_BY_KIND[Kind.IMAGE_LUT], *_BY_KIND[Kind.IMAGE]]
_GROUP = torch.tensor([_GROUPS.index(o.kind if o.kernel is None else o) for o in OPERATIONS])
"""The group that each operation belongs to; a batch is sorted by it."""


class Group(NamedTuple):
    """Images that one table or kernel is applied to, on their device."""

    images: Tensor
    rows: Tensor
    """int64, rows of the tables of the operation's kind."""
    ratio: Tensor
    """float32 (n, 1, 1, 1), 1 + parameter."""
    alpha: Tensor
    """float32 (n, 1, 1, 1), -parameter."""


class RandAugment:
    """Applies RandAugment to batches of one image size on one device.

    Args:
        height: Height of the images.
        width: Width of the images.
        device: Where the images are.
        translate: Pixels that translations reach at M = 30; None: torchvision's 150/331 of the side (14 at 32x32).
            RandAugment's own code for CIFAR has 10.

    References:
        https://arxiv.org/abs/1909.13719
    """

    def __init__(
        self, height: int, width: int, device: torch.device | str = "cpu", translate: int | None = None
    ) -> None:
        self._device = torch.device(device)
        self._maps = _maps(height, width, translate).to(self._device)
        self._luts = _luts().to(self._device)
        ratio = torch.stack([1 + operation.parameters(height, width) for operation in OPERATIONS])
        self._ratio = ratio.float().view(-1).to(self._device)  # in float64 first, as torchvision computes it
        self._alpha = (1 - ratio).float().view(-1).to(self._device)

    def __call__(self, images: Tensor, draws: Draws, magnitude: Magnitude) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8 (B, 3, H, W), contiguous; not changed.
            draws: The draws of the B images, on the CPU.
            magnitude: M, 0..30, `random`, or `none`, which returns the images as they are.
        """
        if magnitude == "none":
            return images
        size = max(1, _CACHED // images[0].numel()) if self._device.type == "cpu" and len(images) else len(images)
        if size < len(images):
            starts = range(0, len(images), size)
            return torch.cat([self(images[i : i + size], draws.rows(i, i + size), magnitude) for i in starts])
        bins = magnitudes(draws, magnitude)
        for step in range(draws.operation.shape[1]):
            images = self.apply(images, draws.operation[:, step], bins, draws.negative[:, step])
        return images

    def apply(self, images: Tensor, operation: Tensor, bins: Tensor, negative: Tensor) -> Tensor:
        """Apply one operation to each image.

        Args:
            images: uint8 (B, 3, H, W), contiguous; not changed.
            operation: int64 (B,), places in `OPERATIONS`, on the CPU.
            bins: int64 (B,), 0..30, on the CPU.
            negative: bool (B,), on the CPU; counts where the operation has a sign.
        """
        group = _GROUP[operation]
        order = group.argsort(stable=True)  # on the CPU, like all that decides shapes: no device waits for it
        operation, rows = operation[order], (bins * 2 + negative)[order]
        sizes = group.bincount(minlength=len(_GROUPS)).tolist()
        images = images.index_select(0, self._send(order))
        places = self._send(operation * (BINS * 2) + rows)
        columns = (
            images,
            self._send(_PLACE[operation] * (BINS * 2) + rows),
            self._ratio[places].view(-1, 1, 1, 1),
            self._alpha[places].view(-1, 1, 1, 1),
        )
        copied, moved, *groups = (Group(*part) for part in zip(*(c.split(sizes) for c in columns), strict=True))
        toned, own = groups[: len(_LUT_KERNELS) + 1], groups[len(_LUT_KERNELS) + 1 :]
        out = [copied.images, self._move(moved), self._tone(images[sizes[0] + sizes[1] :], toned)]
        out += [kernel(part.images, part.ratio, part.alpha) for kernel, part in zip(_IMAGE_KERNELS, own, strict=True)]
        return torch.cat(out).index_select(0, self._send(order.argsort()))

    def _move(self, group: Group) -> Tensor:
        return take(group.images, self._maps.index_select(0, group.rows))

    def _tone(self, images: Tensor, groups: list[Group]) -> Tensor:
        """Look bytes up: in tables that exist already, and in those that depend on the image."""
        same, *own = groups
        luts = [self._luts.index_select(0, same.rows)[:, None].expand(-1, images.shape[1], -1)]
        luts += [kernel(part.images, part.ratio, part.alpha) for kernel, part in zip(_LUT_KERNELS, own, strict=True)]
        together = torch.cat(luts)
        return look_up(images[: len(together)], together)

    def _send(self, index: Tensor) -> Tensor:
        return index.to(self._device, non_blocking=True)


@cache
def _maps(height: int, width: int, translate: int | None) -> Tensor:
    """Return where each pixel comes from, int32 (operations * 31 * 2, H * W), -1 outside."""
    numbered = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)
    sources = [
        operation.reference(numbered, float(value)).view(-1).int() - 1
        for operation in _BY_KIND[Kind.MAP]
        for value in operation.parameters(height, width, translate).view(-1)
    ]
    return torch.stack(sources)


@cache
def _luts() -> Tensor:
    """Return what each byte becomes, uint8 (operations * 31 * 2, 256)."""
    every_byte = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    return torch.stack(
        [
            operation.reference(every_byte, float(value)).view(-1)
            for operation in _BY_KIND[Kind.LUT]
            for value in operation.parameters(16, 16).view(-1)
        ]
    )
