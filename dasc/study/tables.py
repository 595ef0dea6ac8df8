"""The results of a study in tables, for Markdown and for HTML."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product

from dasc.study.figure_spec import FigureSpec
from dasc.study.points import (
    Axes,
    Point,
    Row,
    final_rows,
    format_of,
    last_rows,
    magnitude_points,
    maximal,
    optimal,
    point,
)
from dasc.study.statistics import MIN_TESTED_PAIRS, Comparison, Summary, compare, summarise

_MARKUP = re.compile(r"[\\`*|~$]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])")
"""What Markdown would take for markup; an underscore within a word is none."""

_NOTE = "n: number of seeds. Results: mean ± sample standard deviation over the seeds."

_PAIRED_NOTE = (
    f"{_NOTE} diff.: mean difference to the baseline, paired over the common seeds. 95 % CI: Student-t confidence "
    f"interval of diff. p: two-sided paired t-test, for {MIN_TESTED_PAIRS} or more common seeds. Neither is given "
    "where all differences are equal, and neither is corrected for the number of comparisons."
)


@dataclass(frozen=True)
class Table:
    """Cells as they are read, without markup.

    Args:
        header: The name of each column.
        rows: As many cells each.
        caption: What the table shows.
        left: The columns that hold text and are set to the left, counted from 0; the others hold numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: Collection[int] = ()

    def markdown(self) -> str:
        """The table in Markdown, its columns aligned for who reads the source."""
        cells = [[_plain(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(self.header))]
        left = [i in self.left for i in range(len(self.header))]
        rule = ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, left, strict=True)]
        aligned = [
            [
                cell.ljust(width) if text else cell.rjust(width)
                for cell, width, text in zip(row, widths, left, strict=True)
            ]
            for row in cells
        ]
        lines = ["| " + " | ".join(row) + " |" for row in (aligned[0], rule, *aligned[1:])]
        return "\n".join([*([_plain(self.caption), ""] if self.caption else []), *lines]) + "\n"

    def html(self) -> str:
        """The table in HTML, in a box that scrolls where the page is narrower."""
        kinds = ["" if i in self.left else ' class="number"' for i in range(len(self.header))]
        head = "".join(f'<th scope="col"{k}>{escape(name)}</th>' for name, k in zip(self.header, kinds, strict=True))
        body = "\n".join(f"<tr>{_html_cells(row, kinds)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>\n" if self.caption else ""
        label = escape(self.caption or ", ".join(self.header))
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n<table>\n{caption}'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
        )


def markdown(
    spec: FigureSpec | None,
    rows: Sequence[Row],
    axes: Axes,
    baseline: Mapping[str, str],
    metric: str = "test_accuracy",
) -> str:
    """The tables of a study in Markdown."""
    return "\n".join(table.markdown() for table in tables(spec, rows, axes, baseline, metric))


def tables(
    spec: FigureSpec | None,
    rows: Sequence[Row],
    axes: Axes,
    baseline: Mapping[str, str],
    metric: str = "test_accuracy",
) -> list[Table]:
    """The tables of a study.

    Args:
        spec: The study's figure: its kind says whether each sparsity has a row of its own.
        rows: Of results.csv.
        axes: The labels of each axis but that of the seeds, in the order of the rows.
        baseline: The label of some axes that every combination is compared with.
        metric: The column that is compared.

    Returns:
        The optimal magnitudes where the figure is one of magnitudes, every combination of the axes' labels that has
        results, and the runs that others start from where there are any.
    """
    others = _others(rows, axes, metric)
    last = [others] if others.rows else []
    if spec is None or spec.kind != "magnitude":
        return [_combinations(spec, rows, axes, baseline, metric), *last]
    optima = _magnitudes(rows, axes, spec.panels, metric)
    return [optima, _combinations(spec, *_by_magnitude(rows, axes, spec.panels), metric), *last]


def _by_magnitude(
    rows: Sequence[Row], axes: Axes, panels: str | None
) -> tuple[list[Row], dict[str, Sequence[str]], dict[str, str]]:
    """The rows with M for an axis in place of those that make it, its magnitudes, and none as what is compared with."""
    kept: list[Row] = [{**row, "axis_M": row["magnitude"]} for row in last_rows(rows)]
    magnitudes = sorted({row["magnitude"] for row in kept}, key=lambda m: (m.isdecimal(), m.zfill(2)))
    shown: dict[str, Sequence[str]] = {} if panels is None else {panels: axes[panels]}
    return kept, shown | {"M": magnitudes}, {"M": "none"} if "none" in magnitudes else {}


def _combinations(
    spec: FigureSpec | None, rows: Sequence[Row], axes: Axes, baseline: Mapping[str, str], metric: str
) -> Table:
    staged = spec is not None and spec.kind in ("magnitude", "sparsity")
    settings = _settings(last_rows(rows) if staged else final_rows(rows), axes, staged)
    second = _second(metric)
    own_m = staged and "M" not in axes
    header = [
        *axes,
        *(["sparsity"] if staged else []),
        *(["M"] if own_m else []),
        "n",
        format_of(metric).short,
        format_of(second).short,
    ]
    header += ["diff.", "95 % CI", "p", "remark"] if baseline else ["remark"]
    lines = []
    for (labels, sparsity), those in settings.items():
        own, compared = point(those, metric), tuple(baseline.get(a, x) for a, x in zip(axes, labels, strict=True))
        line = [*labels]
        if staged:
            line.append(_percent(sparsity or 0.0))
        if own_m:
            line.append(", ".join(dict.fromkeys(row["magnitude"] for row in those)))
        line += [str(own.summary.n), spread(own.summary, metric), spread(point(those, second).summary, second)]
        if baseline:
            line += _compared(own, labels == compared, point(settings.get((compared, sparsity), []), metric), metric)
        else:
            line.append(_alone(own))
        lines.append(line)
    return Table(header, lines, _PAIRED_NOTE if baseline else _NOTE, {*range(len(axes)), len(header) - 1})


def _settings(rows: Sequence[Row], axes: Axes, staged: bool) -> dict[tuple[tuple[str, ...], float | None], list[Row]]:
    """The rows of each combination of labels (and of each sparsity), in the order of the axes."""
    found: dict[tuple[tuple[str, ...], float | None], list[Row]] = {}
    for row in rows:
        labels = tuple(row[f"axis_{axis}"] for axis in axes)
        found.setdefault((labels, row["sparsity_asked"] if staged else None), []).append(row)
    sparsities = sorted({row["sparsity_asked"] for row in rows}) if staged else [None]
    return {key: found[key] for key in product(product(*axes.values()), sparsities) if key in found}


def _compared(own: Point, is_baseline: bool, baseline: Point, metric: str) -> list[str]:
    """Return the difference, its confidence interval, p and the remark."""
    if is_baseline:
        return ["-", "-", "-", "baseline"]
    found = compare(own.values, baseline.values)
    if found is None:
        return ["-", "-", "-", "no seed in common with the baseline" if own.summary.n else "no result"]
    difference = _format_difference(found.difference, metric)
    interval = " to ".join(_format_difference(bound, metric) for bound in found.interval or ()) or "-"
    return [difference, interval, _format_p(found.p), _remark(found, own.summary.n)]


def _remark(found: Comparison, n: int) -> str:
    """Return the remark on a comparison of a setting that has n seeds; it is never empty."""
    if found.n == 1:
        return "one seed: nothing is claimed" if n == 1 else "one common seed: nothing is claimed"
    remarks = [f"paired over {found.n} of {n} seeds"] if found.n < n else []
    reasons = [f"fewer than {MIN_TESTED_PAIRS} common seeds"] if found.n < MIN_TESTED_PAIRS else []
    if found.interval is None:
        reasons.append("equal differences in all common seeds")
    elif not reasons:
        low, high = found.interval
        remarks.append("interval contains 0" if low <= 0 <= high else "interval excludes 0 (not corrected)")
    if reasons:
        remarks.append(f"{', '.join(reasons)}: not tested")
    return "; ".join(remarks)


def _alone(own: Point) -> str:
    return {0: "no result", 1: "one seed: nothing is claimed"}.get(own.summary.n, "")


def _magnitudes(rows: Sequence[Row], axes: Axes, panels: str | None, metric: str) -> Table:
    name = format_of(metric).short
    header = [*([panels] if panels else []), "sparsity", "optimal M", f"{name} there", "maximal M", f"{name} at none"]
    lines = []
    for panel, by_sparsity in magnitude_points(rows, axes, metric, panels).items():
        for sparsity, points in by_sparsity.items():
            best, largest = optimal(points, metric), maximal(points, metric)
            means = [spread(points[m].summary, metric) if m in points else "-" for m in (best, "none")]
            shown = [best or "-", means[0], "-" if largest is None else str(largest), means[1]]
            lines.append([*([panel] if panels else []), _percent(sparsity), *shown])
    caption = "Optimal M: of the best mean. Maximal M: the largest of those run that is not worse than no augmentation."
    return Table(header, lines, caption, {0} if panels else set())


def _others(rows: Sequence[Row], axes: Axes, metric: str) -> Table:
    """The runs that the study's own start from, by their labels."""
    second = _second(metric)
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["part"] != "study" and row["final"]:
            labels = ", ".join(str(row[f"axis_{axis}"]) for axis in axes if row.get(f"axis_{axis}"))
            found.setdefault((row["part"], labels), {})[row["run"]] = row
    lines = []
    for (part, labels), those in found.items():
        values = [[row[m] for row in those.values() if row.get(m) is not None] for m in (metric, second)]
        shown = [spread(summarise(v), m) for v, m in zip(values, (metric, second), strict=True)]
        lines.append([part, labels, str(len(those)), *shown])
    header = ["part", "labels", "runs", format_of(metric).short, format_of(second).short]
    return Table(header, lines, "The runs that the study starts from.", {0, 1})


def _second(metric: str) -> str:
    return "test_accuracy" if metric.startswith("val_") else "val_accuracy_last"


def spread(summary: Summary, metric: str) -> str:
    """Mean ± standard deviation; the mean alone of one value."""
    shown = format_of(metric)
    numbers = [f"{value * shown.scale:.{shown.digits}f}" for value in summary[1:]]
    return " ± ".join(numbers[: min(summary.n, 2)]) or "-"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _format_difference(value: float, metric: str) -> str:
    return f"{value * format_of(metric).scale:+.{format_of(metric).digits}f}"


def _format_p(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _html_cells(row: Sequence[str], kinds: Sequence[str]) -> str:
    cells = [f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)]
    return f'<th scope="row"{kinds[0]}>{escape(row[0])}</th>' + "".join(cells[1:])
