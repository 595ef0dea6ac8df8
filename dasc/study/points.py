"""From the rows of results.csv to the points that figures and tables show."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from dasc.metrics import MetricFormat, study_formats
from dasc.study.statistics import Summary, summarise

Row = Mapping[str, Any]
Axes = Mapping[str, Sequence[str]]


_VALIDATION = {
    "val_accuracy_last": MetricFormat("Validation accuracy, last epoch (%)", "val. (%)"),
    "val_accuracy_best": MetricFormat("Validation accuracy, best epoch (%)", "val., best (%)"),
}


def result_column(metric: str) -> str:
    """Return the column of results.csv for a metric of `dasc.metrics.METRICS`."""
    return f"test_{metric}"


def metric_formats() -> dict[str, MetricFormat]:
    """Return the columns of results.csv that figures and tables can show, with their formats."""
    return {result_column(name): shown for name, shown in study_formats().items()} | _VALIDATION


def format_of(column: str) -> MetricFormat:
    """Return the format of a column of results.csv.

    Raises:
        KeyError: Figures and tables cannot show the column.
    """
    return metric_formats()[column]


class Point(NamedTuple):
    """One setting: its values by seed, and their summary."""

    summary: Summary
    values: Mapping[int, float]


def magnitude_points(
    rows: Iterable[Row], axes: Axes, metric: str, panels: str | None = None
) -> dict[str, dict[float, dict[str, Point]]]:
    """Panel, sparsity and magnitude to a point: magnitudes in order, then `none`, then those that are no number."""
    splits = (_axis(axes, panels), _ascending("sparsity_asked"), _ascending("magnitude", _rank))
    found: dict[str, dict[float, dict[str, Point]]] = _nest(last_rows(rows), metric, *splits)
    return found


def sparsity_points(
    rows: Iterable[Row], axes: Axes, metric: str, lines: str, panels: str | None = None
) -> dict[str, dict[str, dict[float, Point]]]:
    """Panel, label of the line and sparsity to a point."""
    splits = (_axis(axes, panels), _axis(axes, lines), _ascending("sparsity_asked"))
    found: dict[str, dict[str, dict[float, Point]]] = _nest(last_rows(rows), metric, *splits)
    return found


def bar_points(
    rows: Iterable[Row], axes: Axes, metric: str, bars: str, groups: str | None = None, panels: str | None = None
) -> dict[str, dict[str, dict[str, Point]]]:
    """Panel, group and bar to a point of the runs' last stages."""
    splits = (_axis(axes, panels), _axis(axes, groups), _axis(axes, bars))
    found: dict[str, dict[str, dict[str, Point]]] = _nest(final_rows(rows), metric, *splits)
    return found


def optimal(points: Mapping[str, Point], metric: str = "test_accuracy") -> str | None:
    """The magnitude, or `none`, of the best mean; the smaller one of equals, `none` before 0."""
    known = [magnitude for magnitude in points if magnitude == "none" or is_number(magnitude)]
    known.sort(key=lambda magnitude: -1 if magnitude == "none" else int(magnitude))
    return max(known, key=lambda magnitude: _gain(points[magnitude], metric), default=None)


def maximal(points: Mapping[str, Point], metric: str = "test_accuracy") -> int | None:
    """The largest magnitude that is not worse than `none`; None where there is none, or no `none`."""
    if "none" not in points:
        return None
    least = _gain(points["none"], metric)
    return max((int(m) for m in points if is_number(m) and _gain(points[m], metric) >= least), default=None)


def is_number(magnitude: str) -> bool:
    """Whether a magnitude is one integer for the whole stage."""
    return magnitude.isdecimal()


def last_rows(rows: Iterable[Row]) -> list[Row]:
    """Of each run of the study and each of its sparsities, the last stage."""
    last: dict[Hashable, Row] = {}
    for row in rows:
        key = (row["run"], row["sparsity_asked"], *(row[column] for column in row if column.startswith("axis_")))
        if row["part"] == "study" and (key not in last or row["stage"] > last[key]["stage"]):
            last[key] = row
    return list(last.values())


def final_rows(rows: Iterable[Row]) -> list[Row]:
    """Of each run of the study, the last stage."""
    return [row for row in rows if row["part"] == "study" and row["final"]]


def point(rows: Iterable[Row], metric: str) -> Point:
    """One point of rows of the same setting.

    A stage that several runs share counts once; where a seed has several stages of the same setting, its value is their
    mean. Missing values are left out.
    """
    columns = metric_formats()
    stages = {(row["seed"], *(row.get(name) for name in columns)): row for row in rows}
    found: dict[int, list[float]] = {}
    for row in stages.values():
        value = row.get(metric)
        if value is not None and math.isfinite(value):
            found.setdefault(row["seed"], []).append(float(value))
    values = {seed: fmean(found[seed]) for seed in sorted(found)}
    return Point(summarise(values.values()), values)


_Split = Callable[[Sequence[Row]], dict[Any, list[Row]]]


def _nest(rows: Sequence[Row], metric: str, *splits: _Split) -> Any:
    if not splits:
        return point(rows, metric)
    parts = {key: _nest(part, metric, *splits[1:]) for key, part in splits[0](rows).items()}
    return {key: part for key, part in parts.items() if (part.summary.n if isinstance(part, Point) else part)}


def _axis(axes: Axes, axis: str | None) -> _Split:
    """Rows by their label of an axis, in the file's order; no axis: all under the empty label."""
    if axis is None:
        return lambda rows: {"": list(rows)}
    return lambda rows: {label: [row for row in rows if row[f"axis_{axis}"] == label] for label in axes[axis]}


def _ascending(column: str, rank: Callable[[Any], Any] | None = None) -> _Split:
    def split(rows: Sequence[Row]) -> dict[Any, list[Row]]:
        parts: dict[Any, list[Row]] = {value: [] for value in sorted({row[column] for row in rows}, key=rank)}
        for row in rows:
            parts[row[column]].append(row)
        return parts

    return split


def _rank(magnitude: str) -> tuple[int, int, str]:
    if is_number(magnitude):
        return (0, int(magnitude), "")
    return (1 if magnitude == "none" else 2, 0, magnitude)


def _gain(point: Point, metric: str) -> float:
    return point.summary.mean if format_of(metric).higher else -point.summary.mean
