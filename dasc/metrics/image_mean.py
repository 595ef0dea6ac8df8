"""Means over images: accuracy and negative log-likelihood."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric


class ImageMean(Metric):
    """Mean of a value over all images, float32; nan where one value is.

    Args:
        value: Maps logits (B, num_classes), floating, and targets (B,), int64, to a value for each image (B,).
    """

    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, value: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._value = value
        for name in ("total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add images.

        Args:
            logits: (B, num_classes), floating.
            targets: Classes (B,), int64.
        """
        values = self._value(logits, targets)
        self.total = self.total + values.sum()
        self.count = self.count + values.numel()

    def compute(self) -> Tensor:
        """Return the mean over the images so far, a scalar."""
        return self.total / self.count


def correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the largest logit is that of the target and 0 elsewhere, such as where a logit is NaN.

    Args:
        logits: (B, num_classes), floating.
        targets: Classes (B,), int64, or shares of the classes (B, num_classes), whose largest counts.

    Returns:
        float32 (B,).
    """
    is_right = logits.argmax(1) == (targets if targets.dim() == 1 else targets.argmax(1))
    return (is_right & ~logits.isnan().any(1)).float()  # argmax takes NaN for the largest value


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of each image.

    Args:
        logits: (B, num_classes), floating.
        targets: Classes (B,), int64.

    Returns:
        float32 (B,), at least 0.
    """
    return F.cross_entropy(logits.float(), targets, reduction="none")
