"""RandAugment on a batch: two operations an image, each image its own.

Every operation is one of four things: take pixels from elsewhere, look bytes up, blend, or filter 3x3. What depends on
(operation, bin, sign) alone is made once by torchvision's own kernels; the rest repeats their arithmetic, rounding
included, so that on the CPU the result equals theirs bit for bit. (One exception: where 3 * H * W is no multiple of 16,
as at 7x9, torch rounds the last bytes of an image in Contrast another way than all others; they may differ by 1.)
"""

from functools import cache

import torch
from torch import Tensor

from dasc.augment.draws import Draws, magnitudes
from dasc.augment.geometry import take
from dasc.augment.operations import BINS, NUMBER, OPERATIONS, Kind
from dasc.augment.tone import autocontrast_luts, contrast_luts, equalize_luts, look_up, saturate, sharpen
from dasc.stages import Magnitude

_KINDS = torch.tensor([operation.kind.value for operation in OPERATIONS])
_BY_KIND = {kind: [o for o in OPERATIONS if o.kind is kind] for kind in Kind}
_PLACE = torch.tensor([_BY_KIND[operation.kind].index(operation) for operation in OPERATIONS])


class RandAugment:
    """Applies RandAugment to batches of one image size on one device.

    Args:
        height: Height of the images.
        width: Width of the images.
        device: Where the images are.

    References:
        https://arxiv.org/abs/1909.13719
    """

    def __init__(self, height: int, width: int, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._maps = _maps(height, width).to(self._device)
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
        out = images.clone()
        kinds = _KINDS[operation]
        rows = bins * 2 + negative
        for kind in Kind:
            if kind is Kind.COPY:
                continue
            chosen = (kinds == kind.value).nonzero()[:, 0]  # on the CPU: no device waits for it
            if len(chosen):
                here = self._send(chosen)
                some = images.index_select(0, here)
                out.index_copy_(0, here, self._group(kind, some, operation[chosen], rows[chosen]))
        return out

    def _group(self, kind: Kind, images: Tensor, operation: Tensor, rows: Tensor) -> Tensor:
        places = self._send(_PLACE[operation] * (BINS * 2) + rows)
        if kind is Kind.MAP:
            return take(images, self._maps.index_select(0, places))
        if kind is Kind.LUT:
            return look_up(images, self._luts.index_select(0, places)[:, None].expand(-1, images.shape[1], -1))
        if kind is Kind.IMAGE_LUT:
            return look_up(images, self._image_luts(images, operation, rows))
        ratio, alpha = self._blend(operation, rows)
        return saturate(images, ratio, alpha) if kind is Kind.COLOR else sharpen(images, alpha)

    def _image_luts(self, images: Tensor, operation: Tensor, rows: Tensor) -> Tensor:
        luts = torch.empty(*images.shape[:2], 256, dtype=torch.uint8, device=images.device)
        for name in ("Contrast", "AutoContrast", "Equalize"):
            chosen = (operation == NUMBER[name]).nonzero()[:, 0]
            if len(chosen):
                here = self._send(chosen)
                luts.index_copy_(0, here, self._image_lut(name, images.index_select(0, here), rows[chosen]))
        return luts

    def _image_lut(self, name: str, images: Tensor, rows: Tensor) -> Tensor:
        if name == "Contrast":
            return contrast_luts(images, *self._blend(torch.full_like(rows, NUMBER[name]), rows))
        return autocontrast_luts(images) if name == "AutoContrast" else equalize_luts(images)

    def _blend(self, operation: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        places = self._send(operation * (BINS * 2) + rows)
        return self._ratio[places].view(-1, 1, 1, 1), self._alpha[places].view(-1, 1, 1, 1)

    def _send(self, index: Tensor) -> Tensor:
        return index.to(self._device, non_blocking=True)


@cache
def _maps(height: int, width: int) -> Tensor:
    """Return where each pixel comes from, int32 (5 * 31 * 2, H * W), -1 outside."""
    numbered = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)
    sources = [
        operation.reference(numbered, float(value)).view(-1).int() - 1
        for operation in _BY_KIND[Kind.MAP]
        for value in operation.parameters(height, width).view(-1)
    ]
    return torch.stack(sources)


@cache
def _luts() -> Tensor:
    """Return what each byte becomes, uint8 (3 * 31 * 2, 256)."""
    every_byte = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    return torch.stack(
        [
            operation.reference(every_byte, float(value)).view(-1)
            for operation in _BY_KIND[Kind.LUT]
            for value in operation.parameters(16, 16).view(-1)
        ]
    )
