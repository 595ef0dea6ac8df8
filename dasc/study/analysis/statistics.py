"""Comparisons paired by seed, and the correction for several of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
"""Confidence level of the intervals; differences with a corrected p value below 1 - CONFIDENCE are established."""

MIN_TESTED_PAIRS = 3
"""The smallest number of pairs that is tested."""


class Comparison(NamedTuple):
    """A comparison of two settings, paired over their common seeds.

    Args:
        n: Number of common seeds.
        difference: Mean of value minus baseline.
        interval: Bounds of the 95 % Student-t confidence interval of the difference. None for one pair, and where
            the differences of all pairs are equal: they have no variance to estimate an interval from.
        p: p value of the two-sided paired t-test, not corrected for the number of comparisons. None where there is
            no interval, and for fewer than 3 pairs.
    """

    n: int
    difference: float
    interval: tuple[float, float] | None
    p: float | None


def compare(values: pd.Series, baseline: pd.Series) -> Comparison | None:
    """Compare values by seed with those of a baseline; None without a common seed."""
    ours, theirs = pd.concat([values, baseline], axis=1, join="inner").to_numpy(dtype=float).T
    n, differences = len(ours), ours - theirs
    rounding = 1e-12 * max(1.0, float(np.abs([ours, theirs]).max(initial=0)))
    if n < 2 or np.ptp(differences) <= rounding:
        return Comparison(n, float(differences.mean()), None, None) if n else None
    test = stats.ttest_rel(ours, theirs)
    low, high = test.confidence_interval(CONFIDENCE)
    p = float(test.pvalue) if n >= MIN_TESTED_PAIRS else None
    return Comparison(n, float(differences.mean()), (float(low), float(high)), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected by the method of Holm (1979), which bounds the chance of any wrong rejection."""
    order, count = np.argsort(p_values), len(p_values)
    corrected = np.empty(count)
    scaled = np.asarray(p_values, dtype=float)[order] * (count - np.arange(count))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(p) for p in corrected]
