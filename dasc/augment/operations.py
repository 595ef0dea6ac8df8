"""The 14 operations of RandAugment with their ranges, as torchvision has them, and what each does to one image.

The scale is torchvision's: 31 bins, M = 0..30. M = 0 is not the identity (AutoContrast and Equalize have no magnitude,
Solarize inverts pixels of 255).

References:
    https://arxiv.org/abs/1909.13719; torchvision.transforms.v2.RandAugment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from dasc.augment.tone import autocontrast_luts, contrast_luts, equalize_luts, saturate, sharpen

BINS = 31

Parameter = Callable[[int, int], Tensor]
"""From height and width to the parameter at each bin, (31,)."""

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From uint8 images (B, 3, H, W), 1 + parameter and -parameter, float32 (B, 1, 1, 1), to the result for a batch."""


class Kind(Enum):
    """How an operation is applied to a batch."""

    COPY = auto()
    MAP = auto()
    """Each pixel comes from another place."""
    LUT = auto()
    """Each byte becomes another byte, the same in every image."""
    IMAGE_LUT = auto()
    """Each byte becomes another byte, which depends on the image: `kernel` returns the tables, uint8 (B, 3, 256)."""
    IMAGE = auto()
    """`kernel` returns the images, uint8 (B, 3, H, W)."""


@dataclass(frozen=True)
class Operation:
    """One operation. To add one, add it to `OPERATIONS`, and its kernel, if it needs one, to `dasc.augment.tone`.

    Args:
        name: Its name.
        kind: How it is applied to a batch.
        reference: `reference(image, parameter)` is what torchvision's tensor kernels make of uint8 (C, H, W).
        parameter: The parameter at each bin; None for an operation without one.
        signed: Whether the parameter is negative for half of the images.
        kernel: For the kinds `IMAGE_LUT` and `IMAGE`.
    """

    name: str
    kind: Kind
    reference: Callable[[Tensor, float], Tensor]
    parameter: Parameter | None = None
    signed: bool = False
    kernel: Kernel | None = None

    def parameters(self, height: int, width: int, translate: int | None = None) -> Tensor:
        """Return the parameter by bin and sign, float64 (31, 2): as it is, and negative where the operation has a sign.

        The values are float64 copies of float32 ones: that is how torchvision reads its own table.

        Args:
            height: Height of the images.
            width: Width of the images.
            translate: Pixels that translations reach at M = 30; None: 150/331 of the side.
        """
        if self.parameter is None:
            return torch.zeros(BINS, 2, dtype=torch.float64)
        limited = translate is not None and self.name.startswith("Translate")
        values = (_constant(0.0, float(translate or 0)) if limited else self.parameter)(height, width).double()
        return torch.stack([values, -values if self.signed else values], dim=1)


def _constant(low: float, high: float) -> Parameter:
    return lambda height, width: torch.linspace(low, high, BINS)


def _affine(image: Tensor, translate: list[float], shear: list[float], center: list[float] | None) -> Tensor:
    result: Tensor = F.affine(
        image, 0.0, translate, 1.0, shear, interpolation=InterpolationMode.NEAREST, fill=None, center=center
    )
    return result


def _rotate(image: Tensor, degrees: float) -> Tensor:
    result: Tensor = F.rotate(image, degrees, interpolation=InterpolationMode.NEAREST, fill=None)
    return result


OPERATIONS = (
    Operation("Identity", Kind.COPY, lambda image, _: image),
    Operation(
        "ShearX",
        Kind.MAP,
        lambda image, v: _affine(image, [0, 0], [math.degrees(math.atan(v)), 0.0], [0, 0]),
        _constant(0.0, 0.3),
        signed=True,
    ),
    Operation(
        "ShearY",
        Kind.MAP,
        lambda image, v: _affine(image, [0, 0], [0.0, math.degrees(math.atan(v))], [0, 0]),
        _constant(0.0, 0.3),
        signed=True,
    ),
    Operation(
        "TranslateX",
        Kind.MAP,
        lambda image, v: _affine(image, [int(v), 0], [0.0, 0.0], None),
        lambda height, width: torch.linspace(0.0, 150.0 / 331.0 * width, BINS),
        signed=True,
    ),
    Operation(
        "TranslateY",
        Kind.MAP,
        lambda image, v: _affine(image, [0, int(v)], [0.0, 0.0], None),
        lambda height, width: torch.linspace(0.0, 150.0 / 331.0 * height, BINS),
        signed=True,
    ),
    Operation("Rotate", Kind.MAP, _rotate, _constant(0.0, 30.0), signed=True),
    Operation("Brightness", Kind.LUT, lambda image, v: F.adjust_brightness(image, 1.0 + v), _constant(0.0, 0.9), True),
    Operation(
        "Color",
        Kind.IMAGE,
        lambda image, v: F.adjust_saturation(image, 1.0 + v),
        _constant(0.0, 0.9),
        signed=True,
        kernel=saturate,
    ),
    Operation(
        "Contrast",
        Kind.IMAGE_LUT,
        lambda image, v: F.adjust_contrast(image, 1.0 + v),
        _constant(0.0, 0.9),
        signed=True,
        kernel=contrast_luts,
    ),
    Operation(
        "Sharpness",
        Kind.IMAGE,
        lambda image, v: F.adjust_sharpness(image, 1.0 + v),
        _constant(0.0, 0.9),
        signed=True,
        kernel=lambda images, ratio, alpha: sharpen(images, alpha),
    ),
    Operation(
        "Posterize",
        Kind.LUT,
        lambda image, v: F.posterize(image, int(v)),
        lambda height, width: (8 - torch.arange(BINS) / ((BINS - 1) / 4)).round(),
    ),
    Operation("Solarize", Kind.LUT, lambda image, v: F.solarize(image, 255.0 * v), _constant(1.0, 0.0)),
    Operation(
        "AutoContrast",
        Kind.IMAGE_LUT,
        lambda image, _: F.autocontrast(image),
        kernel=lambda images, ratio, alpha: autocontrast_luts(images),
    ),
    Operation(
        "Equalize",
        Kind.IMAGE_LUT,
        lambda image, _: F.equalize(image),
        kernel=lambda images, ratio, alpha: equalize_luts(images),
    ),
)
"""In torchvision's order: an operation's number is its place here."""
