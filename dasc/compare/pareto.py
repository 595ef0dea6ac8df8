"""Pareto front of accuracy and cost where accuracies have confidence intervals."""

from collections.abc import Sequence
from typing import NamedTuple

RULE = (
    "A candidate is dominated if another one costs no more and its whole interval of accuracy is above; the others are "
    "the Pareto front."
)
"""The rule of `on_front`, for users."""


class Point(NamedTuple):
    """Accuracy of a candidate and what it costs."""

    cost: float
    """Such as bytes, or the median of a latency."""
    low: float
    """Lower bound of the interval of its accuracy."""
    high: float
    """Upper bound of the interval of its accuracy."""


def on_front(points: Sequence[Point]) -> list[bool]:
    """Return for each point whether it is on the Pareto front.

    A point is dominated, and not on the front, only if the interval of another point is entirely above its own at no
    more cost: `other.low > point.high` and `other.cost <= point.cost`. Points whose intervals overlap do not dominate
    each other, whatever their costs.

    Args:
        points: The points.
    """
    return [not any(other.low > point.high and other.cost <= point.cost for other in points) for point in points]
