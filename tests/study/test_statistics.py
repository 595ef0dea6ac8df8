"""Summaries and paired comparisons, against numbers worked out by hand and against scipy's distributions."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dasc.study.analysis.results import summarise
from dasc.study.analysis.statistics import Comparison, holm
from dasc.study.analysis.statistics import compare as compare_series


def compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison | None:
    return compare_series(pd.Series(values, dtype=float), pd.Series(baseline, dtype=float))


def test_a_summary_has_the_sample_standard_deviation() -> None:
    index = pd.MultiIndex.from_tuples([("a", 0), ("a", 1), ("a", 2), ("b", 0)], names=["setting", "seed"])
    found = summarise(pd.Series([1.0, 2.0, 6.0, 0.7], index), ["setting"])
    assert list(found.loc["a"]) == [3, 3.0, pytest.approx(math.sqrt((4 + 1 + 9) / 2))]  # n - 1, not n
    assert list(found.loc["b"][:2]) == [1, 0.7]
    assert math.isnan(found.loc["b", "std"])


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        # Holm (1979): the smallest of n times n, the next times n - 1, and so on, never falling, at most 1
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_p_values_are_corrected_by_holm(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected)


def test_p_is_that_of_the_paired_t_statistic() -> None:
    ours, theirs = {0: 0.72, 1: 0.70, 2: 0.75}, {0: 0.70, 1: 0.69, 2: 0.72}
    found = compare(ours, theirs)
    assert found is not None
    # differences 0.02, 0.01, 0.03: mean 0.02, standard deviation 0.01, t = 0.02 / (0.01 / sqrt 3) = 2 sqrt 3
    assert found.difference == pytest.approx(0.02)
    assert found.p == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), df=2))
    half = 4.3026527 * 0.01 / math.sqrt(3)  # t(0.975) with 2 degrees of freedom
    assert found.interval == pytest.approx((0.02 - half, 0.02 + half), rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_the_interval_is_that_of_the_mean_paired_difference(shift: float) -> None:
    ours = np.array([0.4402, 0.4268, 0.4375, 0.4521, 0.4310]) + shift
    theirs = np.array([0.4299, 0.4310, 0.4188, 0.4497, 0.4271])
    found = compare(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert found is not None
    differences = ours - theirs
    half = 2.7764451 * differences.std(ddof=1) / math.sqrt(5)  # t(0.975) with 4 degrees of freedom
    assert found.interval == pytest.approx((differences.mean() - half, differences.mean() + half), rel=1e-6)
    expected = stats.ttest_rel(ours, theirs).pvalue
    assert found.p == pytest.approx(expected)
    assert found.interval is not None
    assert (found.interval[0] <= 0) == (expected >= 0.05) == (shift == 0.0)


def test_the_interval_follows_the_differences_and_not_the_values() -> None:
    # The values of each setting are 0.2 apart, the differences are 0.01, 0.02 and 0.03.
    found = compare({0: 0.31, 1: 0.52, 2: 0.73}, {0: 0.30, 1: 0.50, 2: 0.70})
    apart = compare({0: 0.31, 1: 0.32, 2: 0.33}, {0: 0.30, 1: 0.30, 2: 0.30})
    assert found is not None
    assert apart is not None
    assert found.interval == pytest.approx(apart.interval)
    assert found.p == pytest.approx(apart.p)


def test_pairs_are_those_of_common_seeds() -> None:
    found = compare({0: 1.0, 1: 2.0, 2: 4.0, 9: 100.0}, {2: 1.0, 1: 1.0, 0: 1.0, 7: -50.0})
    assert found is not None
    assert found.n == 3
    assert found.difference == pytest.approx((0 + 1 + 3) / 3)
    half = 4.3026527 * math.sqrt((16 / 9 + 1 / 9 + 25 / 9) / 2) / math.sqrt(3)
    assert found.interval == pytest.approx((4 / 3 - half, 4 / 3 + half), rel=1e-6)


def test_without_a_common_seed_there_is_nothing_to_compare() -> None:
    assert compare({0: 1.0}, {1: 1.0}) is None
    assert compare({}, {}) is None


def test_one_pair_has_no_interval_and_no_p() -> None:
    assert compare({3: 0.5}, {3: 0.25}) == Comparison(1, 0.25, None, None)


def test_two_pairs_have_an_interval_and_no_p() -> None:
    found = compare({0: 0.75, 1: 1.0, 5: 0.0}, {0: 0.5, 1: 0.5, 6: 0.0})
    assert found is not None
    assert (found.n, found.difference, found.p) == (2, 0.375, None)
    half = 12.7062047 * 0.125  # differences 0.25 and 0.5: the standard error is half their distance
    assert found.interval == pytest.approx((0.375 - half, 0.375 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((0.5, 0.7), (0.5, 0.7)),
        ((0.5, 0.7, 0.9), (0.5, 0.7, 0.9)),
        ((0.75, 1.0), (0.5, 0.75)),
        ((0.75, 1.0, 0.5), (0.5, 0.75, 0.25)),
        ((0.8, 0.7, 0.3), (0.7, 0.6, 0.2)),  # equal up to rounding
        ((7e5 + 0.8, 7e5 + 0.7, 7e5 + 0.3), (0.7, 0.6, 0.2)),  # equal up to the rounding of larger values
    ],
)
def test_equal_differences_have_no_interval_and_no_p(ours: tuple[float, ...], theirs: tuple[float, ...]) -> None:
    found = compare(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert found is not None
    assert found.difference == pytest.approx(ours[0] - theirs[0])
    assert (found.n, found.interval, found.p) == (len(ours), None, None)


def test_nearly_equal_differences_are_tested() -> None:
    found = compare({0: 0.5010, 1: 0.6010, 2: 0.7011}, {0: 0.5, 1: 0.6, 2: 0.7})
    assert found is not None
    # mean 31 / 3, sum of squares 2 / 3, both in units of 0.0001: t = 31 / 3 / (sqrt(1 / 3) / sqrt 3) = 31
    assert found.p == pytest.approx(2 * stats.t.sf(31, df=2), rel=1e-6)
    assert found.interval == pytest.approx(((31 - 4.3026527) / 3e4, (31 + 4.3026527) / 3e4), rel=1e-6)
