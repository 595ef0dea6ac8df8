"""Figures of the paper's forms, from the rows of results.csv."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasc.callbacks.files import write_whole
from dasc.errors import UserError
from dasc.study.figure_spec import FigureSpec
from dasc.study.points import (
    Axes,
    Point,
    Row,
    bar_points,
    format_of,
    is_number,
    magnitude_points,
    maximal,
    optimal,
    sparsity_points,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette without its yellow, which is hard to see on white."""

_MARKERS = ("o", "s", "D", "^", "P", "X", "<", ">", "p")
_DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 1.5),
    (1.2, 1.2),
    (5, 1.2, 1.2, 1.2),
    (8, 2),
    (2.5, 2.5),
    (8, 1.5, 2.5, 1.5),
    (5, 1.2, 1.2, 1.2, 1.2, 1.2),
)
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "|||", "+++", "***", "OO")
"""Of lengths without a common divisor with that of the colours: dozens of labels each look different."""

_STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dasc",
    "text.parse_math": False,  # labels are the user's: a $ is a $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "figure.titlesize": 12,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
_CHARACTER = 0.08
"""The width of a character of the ticks' size, in inches."""

_GROUP = 0.84
"""The share of a group's width that its bars take."""

_Found = Mapping[str, Mapping[Any, Mapping[Any, Point]]]


def draw(spec: FigureSpec, rows: Sequence[Row], axes: Axes, path_without_suffix: Path) -> list[Path]:
    """Draw a figure into an SVG and a PNG; the same rows give the same files.

    Raises:
        UserError: matplotlib is missing, or no run has a value to show.
    """
    path = path_without_suffix
    svg, png = path.with_name(f"{path.name}.svg"), path.with_name(f"{path.name}.png")
    with style():
        figure, said = compose(spec, rows, axes)
        title = spec.title or format_of(spec.metric).title
        about = {"Title": title, "Description": said, "Creator": "dasc", "Date": None}
        write_whole(svg, lambda file: figure.savefig(file, format="svg", metadata=about))
        write_whole(png, lambda file: figure.savefig(file, format="png", dpi=200, metadata={"Software": None}))
    return [svg, png]


@contextmanager
def style() -> Iterator[None]:
    """The settings of matplotlib that figures are made and saved under, whatever the user's own are.

    Raises:
        UserError: matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("figures need matplotlib: pip install 'dasc[study]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def compose(spec: FigureSpec, rows: Sequence[Row], axes: Axes) -> tuple[Figure, str]:
    """The figure, and what it shows in a few sentences.

    Raises:
        UserError: No run has a value to show.
    """
    shown = {"magnitude": _magnitudes, "sparsity": _sparsities, "bars": _bars}
    return shown[spec.kind](spec, rows, axes)


def _magnitudes(spec: FigureSpec, rows: Sequence[Row], axes: Axes) -> tuple[Figure, str]:
    found = _some(magnitude_points(rows, axes, spec.metric, spec.panels), spec)
    lines = sorted({sparsity for by_sparsity in found.values() for sparsity in by_sparsity})
    labels = [f"sparsity {100 * sparsity:g} %" for sparsity in lines]
    places = _Places({m for by_sparsity in found.values() for points in by_sparsity.values() for m in points})
    figure, panels = _panels(spec, list(found))
    for panel, by_sparsity in zip(panels, found.values(), strict=True):
        for sparsity, points in by_sparsity.items():
            i = lines.index(sparsity)
            _magnitude_line(panel, points, places.of(points, i, len(lines)), spec.metric, _line_look(i))
        places.show(panel)
        panel.set_xlabel("RandAugment magnitude M (0-30)")
    handles = [_key(_line_look(i)) for i in range(len(lines))] + [_key(_mark(m, "white")) for m in "*v"]
    _legend(figure, handles, [*labels, "optimal M", "maximal M"], _note(found))
    return figure, (
        f"{format_of(spec.metric).title} over RandAugment magnitude M; {', '.join(labels)}. "
        f"Optimal M: of the best mean; maximal M: the largest that is not worse than none. {_describe(found)}"
    )


def _sparsities(spec: FigureSpec, rows: Sequence[Row], axes: Axes) -> tuple[Figure, str]:
    axis = str(spec.lines)
    found = _some(sparsity_points(rows, axes, spec.metric, axis, spec.panels), spec)
    labels = _present(axes[axis], found.values())
    figure, panels = _panels(spec, list(found))
    for panel, by_line in zip(panels, found.values(), strict=True):
        for label, points in by_line.items():
            places = [100 * sparsity for sparsity in points]
            _line(panel, places, list(points.values()), spec.metric, _line_look(labels.index(label)))
        panel.set_xlabel("Sparsity (%)")
        ticks = sorted({100 * sparsity for points in by_line.values() for sparsity in points})
        if all(right - left > 0.06 * (ticks[-1] - ticks[0]) for left, right in pairwise(ticks)):
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    _legend(figure, [_key(_line_look(i)) for i in range(len(labels))], labels, f"{axis} ({_note(found)})")
    return figure, f"{format_of(spec.metric).title} over sparsity, by {axis}. {_describe(found)}"


def _bars(spec: FigureSpec, rows: Sequence[Row], axes: Axes) -> tuple[Figure, str]:
    axis = str(spec.bars)
    found = _some(bar_points(rows, axes, spec.metric, axis, spec.groups, spec.panels), spec)
    groups = _present(axes[spec.groups] if spec.groups else [""], found.values())
    bars = _present(axes[axis], [points for by_group in found.values() for points in by_group.values()])
    figure, panels = _panels(spec, list(found), len(groups) * ((0.6 if spec.groups else 0.95) * len(bars) + 0.3) + 0.8)
    offsets = [(i - (len(bars) - 1) / 2) * _GROUP / len(bars) for i in range(len(bars))]
    ticks = (range(len(groups)), groups) if spec.groups else (offsets, bars)
    start, end = _bar_range([p for by_group in found.values() for g in by_group.values() for p in g.values()], spec)
    for panel, by_group in zip(panels, found.values(), strict=True):
        panel.set(xlim=(-0.5, len(groups) - 0.5), ylim=(start, end))
        for group, points in by_group.items():
            places = [groups.index(group) + offsets[bars.index(bar)] for bar in points]
            looks = [_bar_look(bars.index(bar)) for bar in points]
            _bar_group(panel, places, list(points.values()), spec.metric, _GROUP / len(bars), looks)
        _word_ticks(panel, *ticks)
        panel.set_xlabel(spec.groups or axis)
    if start:
        _y_label(panels, f"{format_of(spec.metric).title}\n(axis starts at {start:g})")
    handles = [_patch(_bar_look(i)) for i in range(len(bars))] if spec.groups else []
    _legend(figure, handles, bars if spec.groups else [], f"{axis} ({_note(found)})" if spec.groups else _note(found))
    by = f"{axis} and {spec.groups}" if spec.groups else axis
    return figure, f"{format_of(spec.metric).title} of the last stage, by {by}. {_describe(found)}"


class _Places:
    """Where magnitudes stand on the x axis: integers at their value, `none` and others apart, to the left of them."""

    def __init__(self, magnitudes: Iterable[str]) -> None:
        magnitudes = sorted(magnitudes, key=lambda m: (m != "none", m))
        self.numbers = sorted(int(m) for m in magnitudes if is_number(m))
        self.first, self.last = (self.numbers[0], self.numbers[-1]) if self.numbers else (0, 0)
        apart = [m for m in magnitudes if not is_number(m)]
        self.gap = max(1.0, (0.09 if len(apart) < 2 else 0.17) * (self.last - self.first))
        self.apart = {m: self.first - self.gap * (i + 1) for i, m in enumerate(apart)}

    def of(self, magnitudes: Iterable[str], line: int, lines: int) -> dict[str, float]:
        """The places on one line: those apart stand beside each other."""
        aside = (line - (lines - 1) / 2) * self.gap * 0.6 / lines
        return {m: self.apart[m] + aside if m in self.apart else int(m) for m in magnitudes}

    def show(self, panel: Panel) -> None:
        """Set the ticks."""
        step = next((step for step in (1, 2, 5) if (self.last - self.first) / step <= 8), 5)
        numbers = [m for m in range(self.first, self.last + 1) if m % step == 0] if self.numbers else []
        panel.set_xticks([*self.apart.values(), *numbers], [*self.apart, *map(str, numbers)])
        panel.set_xlim(min([self.first, *self.apart.values()]) - 0.6 * self.gap, self.last + 0.6 * self.gap)
        if self.apart:
            panel.axvline(self.first - 0.5 * self.gap, color="#bbbbbb", linewidth=0.8, zorder=0)


def _magnitude_line(
    panel: Panel, points: Mapping[str, Point], places: Mapping[str, float], metric: str, look: dict[str, Any]
) -> None:
    numbers = [m for m in points if is_number(m)]
    for joined in (numbers, *([m] for m in points if not is_number(m))):
        if joined:
            _line(panel, [places[m] for m in joined], [points[m] for m in joined], metric, look)
    if "none" in points:
        level = points["none"].summary.mean * format_of(metric).scale
        panel.axhline(level, color=look["color"], linestyle=(0, (6, 4)), linewidth=0.9, alpha=0.45, zorder=1)
    largest = maximal(points, metric)
    for symbol, found in (("v", None if largest is None else str(largest)), ("*", optimal(points, metric))):
        if found is not None:
            value = points[found].summary.mean * format_of(metric).scale
            panel.plot([places[found]], [value], **_mark(symbol, look["color"]), zorder=5, clip_on=False)


def _line(panel: Panel, places: Sequence[float], points: Sequence[Point], metric: str, look: dict[str, Any]) -> None:
    scale = format_of(metric).scale
    means, stds = ([scale * value for value in of] for of in zip(*(p.summary[1:] for p in points), strict=True))
    panel.errorbar(places, means, stds, **look, elinewidth=0.9, capsize=2, zorder=3)


def _bar_group(
    panel: Panel,
    places: Sequence[float],
    points: Sequence[Point],
    metric: str,
    width: float,
    looks: Sequence[dict[str, Any]],
) -> None:
    shown = format_of(metric)
    crowded = _inches(panel) * width / _length(panel) < 0.5
    for place, point, look in zip(places, points, looks, strict=True):
        mean, std = (shown.scale * value for value in point.summary[1:])
        panel.bar(place, mean, 0.94 * width, **look)
        panel.errorbar(place, mean, std, color="black", elinewidth=1, capsize=3)
        panel.annotate(
            f"{mean:.{shown.digits}f}",
            (place, mean if math.isnan(std) else mean + std),
            (0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            rotation=90 if crowded else 0,
        )


def _bar_range(points: Sequence[Point], spec: FigureSpec) -> tuple[float, float]:
    """From where to where the axis goes: from 0, unless the bars would all look alike."""
    scale = format_of(spec.metric).scale
    means = [scale * point.summary.mean for point in points]
    stds = [0.0 if math.isnan(point.summary.std) else scale * point.summary.std for point in points]
    low = min(mean - std for mean, std in zip(means, stds, strict=True))
    high = max(mean + std for mean, std in zip(means, stds, strict=True))
    start = 0.0
    if max(means) - min(means) < 0.2 * max(means) and high > low:
        least = (high - low) / 2
        step = 10 ** math.ceil(math.log10(least))
        step = next(step / part for part in (5, 2, 1) if step / part >= least)
        start = max(0.0, step * math.floor((low - 0.15 * (high - low)) / step))
    return start, high + 0.22 * (high - start) or 1.0


def _panels(spec: FigureSpec, names: Sequence[str], inches: float | None = None) -> tuple[Figure, list[Panel]]:
    """A figure with a panel for each label, as wide as it takes; all share the y axis."""
    from matplotlib.figure import Figure

    inches = min(12.0, max(3.4, inches or (7.0 if len(names) == 1 else 4.6)))
    columns = max(1, min(len(names), int(13.8 // inches)))
    lines = math.ceil(len(names) / columns)
    columns = math.ceil(len(names) / lines)
    figure = Figure(figsize=(max(5.0, inches * columns), 3.9 * lines), layout="constrained")
    panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for panel in panels[len(names) :]:
        panel.remove()
    for panel, name in zip(panels, names, strict=False):
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        if spec.panels:
            panel.set_title(_wrap(f"{spec.panels}: {name}", _inches(panel)))
    if spec.title:
        figure.suptitle(_wrap(spec.title, figure.get_figwidth() / 1.3))
    _y_label(panels[: len(names)], format_of(spec.metric).title)
    return figure, panels[: len(names)]


def _y_label(panels: Sequence[Panel], text: str) -> None:
    for panel in panels:
        if _grid(panel).is_first_col():
            panel.set_ylabel(text)


def _word_ticks(panel: Panel, places: Sequence[float], labels: Sequence[str]) -> None:
    """Labels under their places: wrapped, or turned where they would have to be broken into bits."""
    room = int(_inches(panel) / _length(panel) * (places[1] - places[0] if len(places) > 1 else 1) / _CHARACTER) - 1
    wrapped = [_lines(label, room) for label in labels]
    if room < 1 or max(len(lines) for lines in wrapped) > 4 or max(map(len, _words(labels))) > room:
        wrapped = [_lines(label, 32) for label in labels]
        panel.set_xticks(
            places, ["\n".join(lines) for lines in wrapped], rotation=40, ha="right", rotation_mode="anchor"
        )
        height = 0.6 * _CHARACTER * max(len(line) for lines in wrapped for line in lines)
    else:
        panel.set_xticks(places, ["\n".join(lines) for lines in wrapped])
        height = 0.15 * max(len(lines) for lines in wrapped)
    if _grid(panel).is_first_col():
        figure: Any = panel.get_figure()
        figure.set_figheight(figure.get_figheight() + height)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], note: str) -> None:
    """A legend under the panels, as wide as they are."""
    inches = figure.get_figwidth() - 0.4
    labels = [_wrap(label, inches - 1) for label in labels]
    longest = max((len(line) for label in labels for line in label.split("\n")), default=1)
    columns = max(1, min(len(labels), int(inches / (longest * _CHARACTER + 0.75))))
    lines = math.ceil(len(labels) / columns)
    # A label that starts with _ is not for legends: it gets its text afterwards.
    legend = figure.legend(
        handles,
        [str(i) for i in range(len(labels))],
        loc="outside lower center",
        ncols=math.ceil(len(labels) / lines) if lines else 1,
        title=_wrap(note, inches),
        frameon=False,
        handlelength=3.5,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    lines *= max((label.count("\n") + 1 for label in labels), default=0)
    figure.set_figheight(figure.get_figheight() + 0.19 * lines)


def _key(look: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **look)


def _patch(look: dict[str, Any]) -> Any:
    from matplotlib.patches import Patch

    return Patch(**look)


def _line_look(i: int) -> dict[str, Any]:
    dash = _DASHES[i % len(_DASHES)]
    return {
        "color": _COLOURS[i % len(_COLOURS)],
        "linestyle": (0, dash) if dash else "-",
        "linewidth": 1.4,
        "marker": _MARKERS[i % len(_MARKERS)],
        "markersize": 4.5,
    }


def _bar_look(i: int) -> dict[str, Any]:
    from matplotlib.colors import to_rgb

    pale = tuple(0.5 + 0.5 * part for part in to_rgb(_COLOURS[i % len(_COLOURS)]))
    return {"facecolor": pale, "edgecolor": "black", "linewidth": 0.8, "hatch": _HATCHES[i % len(_HATCHES)]}


def _mark(symbol: str, colour: str) -> dict[str, Any]:
    size = 11 if symbol == "*" else 16  # where both are at one point, each is seen
    return {
        "marker": symbol,
        "markersize": size,
        "color": colour,
        "markeredgecolor": "black",
        "markeredgewidth": 0.9,
        "linestyle": "none",
    }


def _some(found: _Found, spec: FigureSpec) -> _Found:
    if not found:
        raise UserError(f"no run of the study has a {spec.metric} yet: there is nothing to draw")
    return found


def _present(labels: Sequence[str], among: Iterable[Iterable[str]]) -> list[str]:
    there = {label for part in among for label in part}
    return [label for label in labels if label in there]


def _note(found: _Found) -> str:
    """What the error bars are."""
    counts = {p.summary.n for lines in found.values() for points in lines.values() for p in points.values()}
    if counts == {1}:
        return "one seed"
    n = str(max(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"mean, error bars: standard deviation over {n} seeds"


def _describe(found: _Found) -> str:
    note = _note(found)
    return f"{note[0].upper()}{note[1:]}."


def _wrap(text: str, inches: float) -> str:
    return "\n".join(_lines(text, max(8, int(inches / _CHARACTER))))


def _lines(text: str, room: int) -> list[str]:
    """Break a text, also where a name has an underscore."""
    lines = [""]
    for word in _words([text], max(1, room)):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > room:
            lines.append("")
        lines[-1] += word
    return [line.strip() for line in lines]


def _words(texts: Iterable[str], longest: int = 1000) -> list[str]:
    """Texts in words with what ends them, those that are too long in bits."""
    word = re.compile(rf"[^\s_/-]{{0,{longest - 1}}}[\s_/-]|[^\s_/-]{{1,{longest}}}")
    return [found for text in texts for found in word.findall(text)] or [""]


def _inches(panel: Panel) -> float:
    """About how wide the panel's axis is."""
    figure: Any = panel.get_figure()
    return float(figure.get_figwidth() / _grid(panel).get_gridspec().ncols - 0.8)


def _grid(panel: Panel) -> Any:
    return panel.get_subplotspec()


def _length(panel: Panel) -> float:
    first, last = panel.get_xlim()
    return last - first
