"""The tables of a study: settings with their mean over seeds, compared with a baseline."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dasc.metrics import METRICS, proportion_interval
from dasc.study.analysis.results import (
    Axes,
    axis_column,
    last_rows,
    maximal,
    metric_formats,
    optimal,
    seed_values,
)
from dasc.study.analysis.statistics import CONFIDENCE, MIN_TESTED_PAIRS, Comparison, compare, holm
from dasc.study.analysis.table import Table
from dasc.study.execution.work import IMAGES, result_column
from dasc.study.plan import STUDY

_SPREAD = "mean ± sample standard deviation over the seeds; of one network, the 95 % interval (Wilson) of its images"
_NOTE = f"n: number of seeds. Results: {_SPREAD}."
_INTERVAL = "mean difference to the baseline, paired over the common seeds, with its 95 % Student-t confidence interval"
_PAIRED = (
    f"diff. and 95 % CI: {_INTERVAL}. p: two-sided paired t-test for {MIN_TESTED_PAIRS} or more common seeds whose "
    "differences are not all equal, corrected for the comparisons of this table (Holm)."
)
_LEVEL = 1 - CONFIDENCE
_NOT_ESTABLISHED = "Not established, which does not show that they are equal"
SHARES = {"sparsity_asked": "sparsity", "channels": "share of removed channels"}
"""Columns of results.csv with a share by which a stage shrinks the network, and their names in tables."""

_LISTED = 6
"""Settings without an established difference that a sentence names."""


@dataclass(frozen=True)
class _Setting:
    """A combination of labels, its values by seed, and its comparison with a baseline.

    `p` is corrected; `comparison` is None for the baseline, and without a common seed.
    """

    key: tuple[Any, ...]
    labels: Sequence[str]
    values: pd.Series
    results: Sequence[str]
    is_baseline: bool = False
    comparison: Comparison | None = None
    p: float | None = None

    @property
    def established(self) -> bool:
        return self.p is not None and self.p < _LEVEL

    def cells(self, metric: str) -> list[str]:
        """Return the difference, its confidence interval, p and a remark, which is never empty."""
        found, form, n = self.comparison, metric_formats()[metric], len(self.values)
        if found is None:
            missing = "no seed in common with the baseline" if n else "no result"
            return ["-", "-", "-", "baseline" if self.is_baseline else missing]
        difference, *bounds = (
            f"{v * form.scale:+.{form.digits}f}" for v in (found.difference, *(found.interval or ()))
        )
        p = "-" if self.p is None else "< 0.001" if self.p < 0.001 else f"{self.p:.3f}"
        remarks = [f"paired over {found.n} of {n} seeds"] if 1 < found.n < n else []
        reasons = [f"fewer than {MIN_TESTED_PAIRS} common seeds"] if found.n < MIN_TESTED_PAIRS else []
        reasons += ["equal differences in all common seeds"] if found.interval is None else []
        remarks.append("established" if self.established else "not established")
        if found.n == 1:
            remarks[-1] = f"one {'seed' if n == 1 else 'common seed'}: nothing is claimed"
        elif reasons:
            remarks[-1] = f"{', '.join(reasons)}: not tested"
        return [difference, " to ".join(bounds) or "-", p, "; ".join(remarks)]


def _settings(
    rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str], metric: str, share: str | None
) -> tuple[list[str], list[_Setting]]:
    """Return the names of the labels, and the settings in the order of the axes."""
    by = [*map(axis_column, axes), *([share] if share else [])] or ["part"]
    found: dict[tuple[Any, ...], _Setting] = {}
    for key, those in rows.groupby(by, observed=True):
        labels = [percent(p) if name == share else str(p) for name, p in zip(by, key, strict=True)]
        results = [spread(those, name) for name in (metric, second(metric))]
        found[key] = _Setting(key, labels, seed_values(those, [], metric), results)
    for key, setting in found.items() if baseline else ():
        other = (*(baseline.get(axis, label) for axis, label in zip(axes, key, strict=False)), *key[len(axes) :])
        comparison = None if key == other or other not in found else compare(setting.values, found[other].values)
        found[key] = replace(setting, is_baseline=key == other, comparison=comparison)
    tested = {key: c.p for key, each in found.items() if (c := each.comparison) is not None and c.p is not None}
    for key, p in zip(tested, holm(list(tested.values())), strict=True):
        found[key] = replace(found[key], p=p)
    names = [*axes, *([SHARES[share]] if share else [])] or ["part"]
    return names, list(found.values())


def _sentences(settings: Sequence[_Setting], metric: str) -> str:
    """Return what the comparisons establish, in words."""
    compared, form = [each for each in settings if not each.is_baseline], metric_formats()[metric]
    if all(each.p is None for each in compared):
        return (
            f"No difference is tested: that takes {MIN_TESTED_PAIRS} common seeds whose differences are not all equal."
        )
    varying = [i for i, labels in enumerate(zip(*(s.labels for s in settings), strict=True)) if len(set(labels)) > 1]
    found: dict[str, list[str]] = {f"Established at {_LEVEL:.0%}": [], _NOT_ESTABLISHED: [], "Not tested": []}
    for each in compared:
        name = ", ".join(each.labels[i] for i in varying)
        if each.established and each.comparison is not None:
            side = "higher" if each.comparison.difference > 0 else "lower"
            difference = f"{abs(each.comparison.difference) * form.scale:.{form.digits}f}"
            name = f"{name} has a {side} {form.short} than the baseline, by {difference}"
        list(found.values())[0 if each.established else 2 if each.p is None else 1].append(name)
    first, *others = found.items()
    parts = [f"{first[0]}: {'; '.join(first[1])}." if first[1] else "No difference is established."]
    for part, names in others:
        listed = "; ".join(names) if len(names) <= _LISTED else f"{len(names)} of {len(compared)} differences"
        parts += [f"{part}: {listed}."] if names else []
    return " ".join(parts)


def combinations(
    rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str], metric: str, share: str | None = None
) -> Table:
    """Return a row for each combination of labels that has results.

    Args:
        rows: Rows that count.
        axes: Labels of each axis but that of the seeds.
        baseline: The label of some axes that every combination is compared with.
        metric: Column that is compared.
        share: A column of `SHARES`, each value of which has a row of its own.
    """
    names, settings = _settings(rows, axes, baseline, metric, share)
    header = [*names, "n", *(metric_formats()[name].short for name in (metric, second(metric)))]
    header += ["diff.", "95 % CI", "p", "remark"] if baseline else ["remark"]
    alone = {0: "no result", 1: "one seed: nothing is claimed"}
    lines = [
        [
            *each.labels,
            str(n := len(each.values)),
            *each.results,
            *(each.cells(metric) if baseline else [alone.get(n, "")]),
        ]
        for each in settings
    ]
    caption, note = (f"{_NOTE} {_PAIRED}", _sentences(settings, metric)) if baseline else (_NOTE, "")
    table = Table(header, lines, caption, note, {*range(len(names)), len(header) - 1})
    return table.compacted([*range(len(names) + 1), *([] if baseline else [len(header) - 1])])


def matrices(
    rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str], metric: str, share: str = "sparsity_asked"
) -> list[Table]:
    """Return a matrix of the combinations of labels by a column of `SHARES`, and one of differences to the baseline."""
    names, settings = _settings(last_rows(rows, share), axes, baseline, metric, share)
    shares = dict.fromkeys(sorted(each.key[-1] for each in settings))

    def matrix(text_of: Callable[[_Setting], str], caption: str, note: str = "") -> Table:
        lines: dict[tuple[str, ...], dict[float, str]] = {}
        for each in settings:
            lines.setdefault(tuple(each.labels[:-1]), {})[each.key[-1]] = text_of(each)
        cells = [[*labels, *(line.get(s, "-") for s in shares)] for labels, line in lines.items()]
        named = range(len(names) - 1)
        header = [*names[:-1], *map(percent, shares)]
        said = f"{metric_formats()[metric].title} by {SHARES[share]}: {caption}"
        return Table(header, cells, said, note, set(named)).compacted(named)

    def difference(each: _Setting) -> str:
        shown, interval, _, remark = each.cells(metric)
        text = remark if each.is_baseline else shown if interval == "-" else f"{shown} ({interval})"
        return f"{text} *" if each.established else text

    counts = [len(each.values) for each in settings]
    seeds = " to ".join(map(str, dict.fromkeys((min(counts), max(counts)))))
    shown = [matrix(lambda each: each.results[0], f"{_SPREAD}. n: {seeds} seeds.")]
    if baseline:
        caption = f"{_INTERVAL}. * established (p < {_LEVEL:.2g}, paired t-test, corrected for this table by Holm)."
        shown.append(matrix(difference, caption, _sentences(settings, metric)))
    return shown


def magnitudes(points: pd.DataFrame, panels: str | None, metric: str) -> Table:
    """Return the optimal and the maximal magnitude of each panel and sparsity of a figure.

    Args:
        points: n, mean and std of each point, in the unit of the metric, with the levels (panel, sparsity, magnitude).
        panels: The axis of the panels.
        metric: Column of the values.
    """
    form, lines = metric_formats()[metric], []
    for (panel, sparsity), those in points["mean"].groupby(level=[0, 1], observed=True):
        means = those.droplevel([0, 1]).to_dict()
        best, largest = optimal(means, metric), maximal(means, metric)
        there, none = (f"{means[m]:.{form.digits}f}" if m in means else "-" for m in (best, "none"))
        shown = [best or "-", there, "-" if largest is None else str(largest), none]
        lines.append([*([str(panel)] if panels else []), percent(sparsity), *shown])
    caption = (
        f"{form.title}. Optimal M: of the best mean. Maximal M: the largest of those run that is not worse than no "
        "augmentation."
    )
    header = [*([panels] if panels else []), "sparsity", "optimal M", "mean there", "maximal M", "mean at none"]
    return Table(header, lines, caption, left={0} if panels else ())


def others(rows: pd.DataFrame, axes: Axes, metric: str) -> list[Table]:
    """Return a table of the runs that the study's own start from, by their labels; none if there are none."""
    kept = rows[(rows["part"] != STUDY) & (rows["final"] == 1)]
    named = kept[[axis_column(axis) for axis in axes]].itertuples(index=False)
    labels = [", ".join(label for label in row if isinstance(label, str)) for row in named]
    metrics = (metric, second(metric))
    lines = [
        [part, label, str(those["run"].nunique()), *(spread(those, name) for name in metrics)]
        for (part, label), those in kept.assign(labels=labels).groupby(["part", "labels"], sort=False)
    ]
    header = ["part", "labels", "runs", *(metric_formats()[name].short for name in metrics)]
    return [Table(header, lines, "The runs that the study starts from.", left={0, 1})] if lines else []


def second(metric: str) -> str:
    """Return the metric that tables have beside another."""
    return "test_accuracy" if metric.startswith("val_") else "val_accuracy_last"


def spread(rows: pd.DataFrame, metric: str) -> str:
    """Return mean ± standard deviation over seeds; of one network, the value and the interval of a proportion."""
    form, values = metric_formats()[metric], seed_values(rows, [], metric)
    if not len(values):
        return "-"
    mean = f"{values.mean() * form.scale:.{form.digits}f}"
    if len(values) > 1:
        return f"{mean} ± {values.std() * form.scale:.{form.digits}f}"
    proportions = {result_column(name) for name, spec in METRICS.items() if spec.is_proportion}
    images = rows[IMAGES].max() if IMAGES in rows else math.nan
    if metric not in proportions or pd.isna(images):
        return mean
    low, high = proportion_interval(values.iloc[0], int(images))
    return f"{mean} ({low * form.scale:.1f} to {high * form.scale:.1f})"


def percent(share: Any) -> str:
    """Return a share in percent."""
    return f"{100 * share:g} %"
