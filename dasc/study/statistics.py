"""Summaries over seeds, and comparisons paired by seed."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
"""The confidence level of the intervals."""

MIN_TESTED_PAIRS = 3
"""The smallest number of pairs that is tested."""


class Summary(NamedTuple):
    """Number, mean and standard deviation of the values of several seeds.

    Args:
        n: The number of values.
        mean: nan without values.
        std: The sample standard deviation (n - 1 in the denominator); nan for fewer than two values.
    """

    n: int
    mean: float
    std: float


class Comparison(NamedTuple):
    """A comparison of two settings, paired over their common seeds.

    Args:
        n: The number of common seeds.
        difference: The mean of value minus baseline.
        interval: The bounds of the 95 % Student-t confidence interval of the difference. None for one pair, and where
            the differences of all pairs are equal: they have no variance to estimate an interval from.
        p: The p value of the two-sided paired t-test, not corrected for the number of comparisons. None where there
            is no interval, and for fewer than 3 pairs.
    """

    n: int
    difference: float
    interval: tuple[float, float] | None
    p: float | None


def summarise(values: Iterable[float]) -> Summary:
    """Return the number, the mean and the standard deviation of values."""
    found = np.fromiter(values, dtype=float)
    mean = float(found.mean()) if found.size else float("nan")
    return Summary(found.size, mean, float(found.std(ddof=1)) if found.size > 1 else float("nan"))


def compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison | None:
    """Compare the values of seeds with those of a baseline; None without a common seed."""
    seeds = [seed for seed in values if seed in baseline]
    if not seeds:
        return None
    ours, theirs = (np.array([given[seed] for seed in seeds]) for given in (values, baseline))
    n, difference = len(seeds), float((ours - theirs).mean())
    if n == 1 or _equal_differences(ours, theirs):
        return Comparison(n, difference, None, None)
    result = stats.ttest_rel(ours, theirs)
    low, high = result.confidence_interval(CONFIDENCE)
    return Comparison(n, difference, (float(low), float(high)), float(result.pvalue) if n >= MIN_TESTED_PAIRS else None)


def _equal_differences(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether all differences are equal up to rounding, as 0.7 - 0.6 and 0.8 - 0.7 are."""
    rounding = 1e-12 * max(1.0, float(np.abs([ours, theirs]).max()))
    return bool(np.ptp(ours - theirs) <= rounding)
