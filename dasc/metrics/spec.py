"""Description of one metric of the table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torchmetrics import Metric

Needs = Literal["logits", "features", "views"]


class MetricFormat(NamedTuple):
    """Format of a column of results.csv in the tables and figures of a study.

    Args:
        title: The title with its unit.
        short: The same for a narrow column.
        scale: Factor from the value to the unit; 100 for a share in percent.
        digits: Digits after the decimal point.
        higher: Whether a higher value is better.
    """

    title: str
    short: str
    scale: float = 100.0
    digits: int = 2
    higher: bool = True


class OutputShape(NamedTuple):
    """Sizes that a metric is made for.

    Args:
        num_classes: Number of classes.
        num_features: Number of penultimate features; None if the last layer of the network is not linear.
        views: Fixed draws of the augmentation.
    """

    num_classes: int
    num_features: int | None
    views: int


@dataclass(frozen=True)
class MetricSpec:
    """One row of the table.

    Args:
        make: Makes the metric. Its `compute` returns a scalar; its `update` gets what `needs` names, in the dtype of
            the network, with targets (B,), int64.
        title: The name in the figure of `dasc teacher-report`.
        short: The name in its table.
        needs: `logits`: `update(logits (B, classes), targets)` once per batch; `features`: `update(features (B, F),
            targets)`, left out for networks without a linear last layer; `views`: `update(logits, view)` once per batch
            and view, left out where there are no augmented views.
        study: The format in a study, which scores its runs with the metric; None: studies do not compute it.
        is_proportion: Whether the value is the share of the images that have a property, such as a correct prediction;
            `dasc test` prints the confidence interval of a proportion.
    """

    make: Callable[[OutputShape], Metric]
    title: str
    short: str
    needs: Needs = "logits"
    study: MetricFormat | None = None
    is_proportion: bool = False
