"""Summaries and paired comparisons, against numbers worked out by hand and against scipy's distributions."""

import math

import pytest
from scipy import stats

from dasc.study.statistics import Comparison, compare, summarise


def test_summary_of_three_values() -> None:
    n, mean, std = summarise([1.0, 2.0, 6.0])
    assert (n, mean) == (3, 3.0)
    assert std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))  # n - 1, not n


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    one, none = summarise([0.7]), summarise([])
    assert (one.n, one.mean) == (1, 0.7)
    assert math.isnan(one.std)
    assert none.n == 0
    assert math.isnan(none.mean)
    assert math.isnan(none.std)


def test_p_is_that_of_the_paired_t_statistic() -> None:
    ours, theirs = {0: 0.72, 1: 0.70, 2: 0.75}, {0: 0.70, 1: 0.69, 2: 0.72}
    found = compare(ours, theirs)
    assert found is not None
    # differences 0.02, 0.01, 0.03: mean 0.02, standard deviation 0.01, t = 0.02 / (0.01 / sqrt 3) = 2 sqrt 3
    assert found.difference == pytest.approx(0.02)
    assert found.p == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), df=2))
    assert found.within_spread is True  # standard deviations 0.025 and 0.015


def test_pairs_are_those_of_common_seeds() -> None:
    found = compare({0: 1.0, 1: 2.0, 2: 4.0, 9: 100.0}, {2: 1.0, 1: 1.0, 0: 1.0, 7: -50.0})
    assert found is not None
    assert found.n == 3
    assert found.difference == pytest.approx((0 + 1 + 3) / 3)
    # The spread of 1, 2 and 4 is 1.53, that with the seed 9 would be 49.
    assert found.within_spread is True
    far = compare({0: 10.0, 1: 11.0, 9: 500.0}, {0: 1.0, 1: 1.0, 8: -500.0})
    assert far is not None
    assert far.within_spread is False


def test_without_a_common_seed_there_is_nothing_to_compare() -> None:
    assert compare({0: 1.0}, {1: 1.0}) is None
    assert compare({}, {}) is None


def test_one_pair_claims_nothing() -> None:
    assert compare({3: 0.5}, {3: 0.25}) == Comparison(1, 0.25, None, None)


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        ((0.5, 0.7), (0.5, 0.7), 1.0),
        ((0.75, 1.0), (0.5, 0.75), 0.0),
        ((0.8, 0.7, 0.3), (0.7, 0.6, 0.2), 0.0),  # the differences are equal but for rounding
    ],
)
def test_equal_differences_have_a_p_and_no_warning(
    ours: tuple[float, ...], theirs: tuple[float, ...], p: float
) -> None:
    found = compare(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert found is not None
    assert found.p == p
