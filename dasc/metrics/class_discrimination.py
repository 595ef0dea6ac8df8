"""Class-discrimination metric in two readings."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from dasc.errors import UserError, unknown_name

Reading = Literal["prediction", "latent"]

ROUNDING = 1e-12  # a difference below this share of its terms is what sums in float64 may leave of zero


class ClassDiscrimination(Metric):
    """Distance between classes over distance within them: two readings of a metric of Das et al. (arXiv 2006.03810).

    Neither text of that paper at hand prints the metric's formula: one version calls it "KL-Divergence based", the
    other speaks of the "discriminative capacity" of the latent space. So these are two readings of it, not the metric
    itself; report both, by name:

    - `prediction`: the mean over pairs of classes a != b of `E_{i in a, j in b} KL(p_i || p_j)`, over the mean over
      classes a of `E_{i, j in a} KL(p_i || p_j)`, i = j included, with `p = softmax(logits / temperature)`. Every pair
      of images counts, exactly, in O(classes^2) memory: the expectations need only each class's sums.
    - `latent`: between-class over within-class scatter of penultimate features, `tr(S_B) / tr(S_W)` with
      `S_B = sum_c n_c |mu_c - mu|^2` and `S_W = sum_i |x_i - mu_c(i)|^2`. From sums in float64: a spread below a
      millionth of the features' size counts as none.

    Classes without images are left out. The value (scalar, float64, at least 0) is nan where fewer than two classes
    were seen or nothing differs at all, and inf where images differ between classes only.

    Args:
        num_classes: Number of classes, at least 2.
        reading: Which of the two.
        temperature: Softens the predictions, over 0; `latent` has no use for it.
        num_features: Number of penultimate features; `prediction` has no use for it.

    Raises:
        UserError: An argument is out of its range, or `latent` has no `num_features`.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    count: Tensor
    probabilities: Tensor
    log_probabilities: Tensor
    negative_entropy: Tensor
    features: Tensor
    squares: Tensor

    def __init__(
        self,
        num_classes: int,
        reading: Reading = "prediction",
        temperature: float = 1.0,
        num_features: int | None = None,
    ) -> None:
        super().__init__()
        _check(num_classes, reading, temperature)
        self.reading = reading
        self.temperature = temperature
        self._add_sum("count", num_classes)
        if reading == "prediction":
            self._add_sum("probabilities", num_classes, num_classes)
            self._add_sum("log_probabilities", num_classes, num_classes)
            self._add_sum("negative_entropy", num_classes)
        elif num_features is None or num_features < 1:
            raise UserError(
                f"num_features is {num_features}: the latent reading needs the number of penultimate features, "
                "at least 1"
            )
        else:
            self._add_sum("features", num_classes, num_features)
            self._add_sum("squares")

    def _add_sum(self, name: str, *shape: int) -> None:
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add images.

        Args:
            outputs: Logits (B, num_classes) for `prediction`, features (B, num_features) for `latent`; floating.
            targets: Classes (B,), int64, 0 to num_classes - 1.
        """
        outputs = outputs.double()
        self.count = self.count.index_add(0, targets, torch.ones_like(targets, dtype=torch.float64))
        if self.reading == "latent":
            self.features = self.features.index_add(0, targets, outputs)
            self.squares = self.squares + outputs.square().sum()
            return
        log_p = F.log_softmax(outputs / self.temperature, dim=1)
        p = log_p.exp()
        self.probabilities = self.probabilities.index_add(0, targets, p)
        self.log_probabilities = self.log_probabilities.index_add(0, targets, log_p)
        self.negative_entropy = self.negative_entropy.index_add(0, targets, (p * log_p).sum(dim=1))

    def compute(self) -> Tensor:
        """Return the ratio of the images so far."""
        seen = self.count > 0
        if int(seen.sum()) < 2:
            return self.count.new_tensor(math.nan)
        count = self.count[seen].unsqueeze(1)
        if self.reading == "latent":
            return _scatter_ratio(count, self.features[seen] / count, self.squares)
        return _divergence_ratio(
            self.probabilities[seen] / count,
            self.log_probabilities[seen] / count,
            self.negative_entropy[seen].unsqueeze(1) / count,
        )


def _check(num_classes: int, reading: str, temperature: float) -> None:
    if num_classes < 2:
        raise UserError(f"num_classes is {num_classes}: write a whole number, at least 2")
    if reading not in get_args(Reading):
        raise UserError(unknown_name("reading", reading, get_args(Reading)))
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature is {temperature}: write a number over 0")


def _divergence_ratio(p: Tensor, log_p: Tensor, negative_entropy: Tensor) -> Tensor:
    cross = p @ log_p.T  # E KL(p_i || p_j) = E p_i log p_i - E p_i E log p_j, all of one sign
    divergences = _or_zero(negative_entropy - cross, -negative_entropy - cross)
    same = torch.eye(len(p), dtype=torch.bool, device=p.device)
    return divergences[~same].mean() / divergences[same].mean()


def _scatter_ratio(count: Tensor, means: Tensor, squares: Tensor) -> Tensor:
    mean = (count * means).sum(dim=0) / count.sum()
    between = (count * (means - mean).square()).sum()
    within = squares - (count * means.square()).sum()
    return _or_zero(between, squares) / _or_zero(within, squares)


def _or_zero(difference: Tensor, size: Tensor) -> Tensor:
    return torch.where(difference.abs() < ROUNDING * size, 0.0, difference)
