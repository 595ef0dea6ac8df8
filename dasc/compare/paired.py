"""Paired comparison of networks that were scored on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """Two networks on the same images.

    Args:
        only_first: Images that only the first one classifies correctly.
        only_second: Images that only the second one classifies correctly.
        images: Number of images.
        p_value: Probability of such a difference or a larger one if both are equally accurate; see `mcnemar`.
    """

    only_first: int
    only_second: int
    images: int
    p_value: float

    @property
    def difference(self) -> float:
        """Accuracy of the second one minus that of the first one, in percentage points."""
        return 100 * (self.only_second - self.only_first) / self.images


def mcnemar(first: Tensor, second: Tensor) -> Pair:
    """Compare the accuracies of two networks by the exact McNemar test.

    If both are equally accurate, each image that one of them alone classifies correctly is as likely to be an image of
    the first as of the second, so that their numbers are binomial with probability 1/2. The test is two-sided. It is
    that of McNemar (Psychometrika 12, 1947), which Dietterich (Neural Computation 10, 1998) recommends for two networks
    on one set of images, with exact probabilities.

    Args:
        first: Whether the first network classifies each image correctly, bool (N,), N at least 1.
        second: The same of the second one.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    p_value = float(binomtest(only_first, total).pvalue) if total else 1.0
    return Pair(only_first, only_second, len(first), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number, so that 5 % of comparisons without any difference find one.

    The method is Holm's (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values: Probabilities, from 0 to 1.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
