"""Agreement of an exported file with the network."""

import math

import torch
from torch import Tensor

from dasc.errors import UserError

TOLERANCE = 1e-4
"""Largest permitted difference where no expected output is over 1; larger outputs permit as many times more."""


class Comparison:
    """Compares the outputs of a file with those of the network, batch by batch.

    A file agrees if the largest difference is at most `tolerance`, and if the class of every image is the same. Images
    whose two largest expected outputs are closer than twice the largest difference may have another class.

    A format that rounds weights is compared with the network with rounded weights; see `Format.reference`.
    """

    def __init__(self) -> None:
        self.images = 0
        """Images so far."""
        self.largest_difference = 0.0
        """Largest absolute difference of two outputs; NaN or inf if an output is not finite."""
        self._largest_output = 0.0
        self._margins: list[float] = []  # of the images with another class only

    def update(self, expected: Tensor, actual: Tensor) -> None:
        """Add a batch.

        Args:
            expected: Outputs of the network, (B, classes).
            actual: Outputs of the file, (B, classes).

        Raises:
            UserError: The file has outputs of another shape.
        """
        if actual.shape != expected.shape:
            raise UserError(
                f"outputs of the file must have the shape {list(expected.shape)}, got {list(actual.shape)}: "
                "export the network in another format"
            )
        self.images += len(expected)
        if not expected.numel():
            return
        expected, actual = expected.detach().double(), actual.detach().double()
        self._largest_output = _larger(self._largest_output, expected.abs().max().item())
        self.largest_difference = _larger(self.largest_difference, (actual - expected).abs().max().item())
        other = expected.argmax(1) != actual.argmax(1)
        if other.any():
            two = expected[other].topk(2).values
            self._margins += (two[:, 0] - two[:, 1]).tolist()

    @property
    def tolerance(self) -> float:
        """Largest permitted difference: 1e-4 max(1, largest absolute expected output)."""
        return TOLERANCE * _larger(1.0, self._largest_output)

    @property
    def other_classes(self) -> int:
        """Number of images with another class whose two largest expected outputs are not too close to tell."""
        return sum(not margin < 2 * self.largest_difference for margin in self._margins)

    @property
    def agrees(self) -> bool:
        """Whether the file agrees on all images so far; False without images and with outputs that are not finite."""
        is_finite = math.isfinite(self._largest_output) and math.isfinite(self.largest_difference)
        is_close = is_finite and self.largest_difference <= self.tolerance
        return self.images > 0 and is_close and self.other_classes == 0

    def sentence(self, name: object) -> str:
        """Return the result for the user.

        Args:
            name: The file.
        """
        count = f"{self.images} image{'' if self.images == 1 else 's'}"
        if self.images == 0:
            return f"{name} was not compared with the network: there are no images"
        verb = "agrees" if self.agrees else "does not agree"
        difference = f"largest difference {self.largest_difference:.1e}, permitted {self.tolerance:.1e}"
        if not math.isfinite(self.largest_difference):
            difference = "an output is not finite"
        classes = f"another class on {self.other_classes}" if self.other_classes else "the same classes"
        if not self.other_classes and self._margins:
            classes += f" except for {len(self._margins)} near-ties"
        return f"{name} {verb} with the network on {count}: {difference}, {classes}"


def _larger(first: float, second: float) -> float:
    """Return the larger number; NaN if one is NaN."""
    return first if math.isnan(first) or first > second else second


def compare(expected: Tensor, actual: Tensor) -> Comparison:
    """Return the comparison of one batch, or of all images at once."""
    comparison = Comparison()
    with torch.no_grad():
        comparison.update(expected, actual)
    return comparison
