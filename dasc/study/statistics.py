"""Means over seeds, and what a difference between two of them is worth."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats


class Summary(NamedTuple):
    """Values of several seeds in two numbers.

    Args:
        n: How many values there are.
        mean: nan where there is none.
        std: The sample standard deviation (n - 1 in the denominator); nan for fewer than two values.
    """

    n: int
    mean: float
    std: float


class Comparison(NamedTuple):
    """A paired comparison of two settings over the seeds that both were run with.

    Args:
        n: How many seeds they have in common.
        difference: The mean of value minus baseline.
        p: Of the two-sided paired t-test, not corrected for the number of comparisons; None for one pair.
        within_spread: Whether the difference is smaller than the larger of the two standard deviations over the common
            seeds; None for one pair.
    """

    n: int
    difference: float
    p: float | None
    within_spread: bool | None


def summarise(values: Iterable[float]) -> Summary:
    """The mean and the standard deviation of values."""
    found = np.fromiter(values, dtype=float)
    mean = float(found.mean()) if found.size else float("nan")
    return Summary(found.size, mean, float(found.std(ddof=1)) if found.size > 1 else float("nan"))


def compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison | None:
    """Compare values by seed with a baseline's; None where no seed is common."""
    seeds = [seed for seed in values if seed in baseline]
    if not seeds:
        return None
    ours, theirs = (np.array([given[seed] for seed in seeds]) for given in (values, baseline))
    difference = float((ours - theirs).mean())
    if len(seeds) == 1:
        return Comparison(1, difference, None, None)
    spread = max(summarise(ours).std, summarise(theirs).std)
    return Comparison(len(seeds), difference, _p(ours, theirs), abs(difference) < spread)


def _p(ours: np.ndarray, theirs: np.ndarray) -> float:
    differences = ours - theirs
    # 0.7 - 0.6 and 0.8 - 0.7 are the same difference but for rounding, of which the t-test would make a finding.
    rounding = 1e-12 * max(1.0, float(np.abs([ours, theirs]).max()))
    if np.ptp(differences) <= rounding:
        return 0.0 if abs(float(differences.mean())) > rounding else 1.0
    return float(stats.ttest_rel(ours, theirs).pvalue)
