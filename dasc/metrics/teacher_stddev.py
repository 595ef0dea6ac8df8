"""Standard deviation of a teacher's predictions over draws of the augmentation."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from dasc.errors import UserError


class TeacherStddev(Metric):
    """T. stddev of Wang et al. (arXiv 2012.02909): spread of the teacher's mean probabilities over draws.

    The same images are augmented several times. Each draw gives a mean probability vector over the images; the value
    is the standard deviation over draws (population) of each class's mean probability, averaged over classes: a scalar,
    float64, from 0 to 0.5, lower is better. Draws without images are left out; with fewer than two it is nan.

    Args:
        num_classes: Number of classes, at least 2.
        draws: Number of augmentation draws, at least 2.

    Raises:
        UserError: An argument is out of its range.
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False

    count: Tensor
    probabilities: Tensor

    def __init__(self, num_classes: int, draws: int) -> None:
        super().__init__()
        for name, number in (("num_classes", num_classes), ("draws", draws)):
            if number < 2:
                raise UserError(f"{name} is {number}: write a whole number, at least 2")
        self.draws = draws
        self.add_state("count", torch.zeros(draws, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("probabilities", torch.zeros(draws, num_classes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, draw: int) -> None:
        """Add images under one draw of the augmentation.

        Args:
            logits: The teacher's (B, num_classes), floating.
            draw: The draw's number, 0 to draws - 1.

        Raises:
            IndexError: There is no such draw.
        """
        if not 0 <= draw < self.draws:
            raise IndexError(f"draw is {draw}, but there are {self.draws}, counted from 0")
        p = F.softmax(logits.double(), dim=1)
        row = torch.full((len(p),), draw, device=p.device)
        self.count = self.count.index_add(0, row, torch.ones_like(row, dtype=torch.float64))
        self.probabilities = self.probabilities.index_add(0, row, p)

    def compute(self) -> Tensor:
        """Return the spread over the draws so far."""
        seen = self.count > 0
        if int(seen.sum()) < 2:
            return self.count.new_tensor(math.nan)
        means = self.probabilities[seen] / self.count[seen].unsqueeze(1)
        return means.std(dim=0, correction=0).mean()
