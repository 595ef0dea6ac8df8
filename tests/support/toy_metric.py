"""A metric that is not in the table of dasc."""

import torch
from torch import Tensor
from torchmetrics import Metric

from dasc.metrics import MetricFormat, MetricSpec


class LargestLogit(Metric):
    """The largest logit of all images."""

    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("largest", torch.tensor(-torch.inf), dist_reduce_fx="max")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add logits (B, num_classes)."""
        self.largest = torch.maximum(self.largest, logits.max())

    def compute(self) -> Tensor:
        """Return the largest so far."""
        return self.largest


LARGEST_LOGIT = MetricSpec(
    lambda shape: LargestLogit(),
    "largest logit of all",
    "largest",
    study=MetricFormat("Test largest logit", "test largest", 10.0, 1, higher=False),
)
