"""Expected calibration error."""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError
from torchmetrics.utilities import dim_zero_cat

BINS = 15


class CalibrationError(MulticlassCalibrationError):
    """Expected calibration error of Guo et al. (arXiv 1706.04599) with 15 bins of equal width, from logits.

    The mean over images of the distance between confidence and accuracy of their bin, float32, from 0 to 1; NaN if the
    logits of an image have a NaN.

    Args:
        num_classes: Number of classes, at least 2.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, n_bins=BINS)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add images.

        Args:
            preds: Logits (B, num_classes), floating.
            target: Classes (B,), int64, 0 to num_classes - 1.
        """
        super().update(preds.float().softmax(1), target)

    def compute(self) -> Tensor:
        """Return the error of all images."""
        error: Tensor = super().compute()
        is_unknown = dim_zero_cat(self.confidences).isnan().any()  # torchmetrics would take NaN for 0
        return torch.where(is_unknown, torch.nan, error)
