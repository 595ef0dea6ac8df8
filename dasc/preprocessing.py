"""Preprocessing of images that a network was trained with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation and resizing that a pretrained network expects.

    Args:
        mean: Mean of each channel in [0, 1].
        std: Standard deviation of each channel in [0, 1].
        interpolation: Interpolation with which images are resized.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, as a checkpoint records it under `dasc`."""
        return {"mean": list(self.mean), "std": list(self.std), "interpolation": self.interpolation}


def preprocessing_of(network: nn.Module) -> Mapping[str, Any]:
    """Return the preprocessing of a network's pretrained weights as plain data; empty if they have none.

    A network has pretrained weights with a known preprocessing if its attribute `preprocessing` is a `Preprocessing`.
    """
    found = getattr(network, "preprocessing", None)
    return found.plain() if isinstance(found, Preprocessing) else {}
