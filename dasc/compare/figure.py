"""Picture of a comparison: accuracy over latency and over bytes."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dasc.callbacks.files import write_whole
from dasc.compare.comparison import Comparison
from dasc.compare.labels import Array, place_labels
from dasc.compare.pareto import RULE
from dasc.metrics import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_FRONT, _DOMINATED = "#4477aa", "#888888"
_MARKER = 5.0
"""Diameter of a marker in points."""
_LOGARITHMIC = 5.0
"""Ratio of the highest to the lowest cost from which the axis is logarithmic."""


@dataclass(frozen=True)
class Panel:
    """A panel: accuracy in percent over a cost.

    Args:
        title: Name and unit of the cost.
        costs: Cost of each candidate.
        ranges: Lower and upper bound of each cost; None for a cost without bounds.
        on_front: Whether each candidate is on the Pareto front.
    """

    title: str
    costs: Sequence[float]
    ranges: Sequence[tuple[float, float]] | None
    on_front: Sequence[bool]


def draw(comparison: Comparison, path: Path) -> bool:
    """Draw a comparison into an SVG; return whether matplotlib is installed."""
    try:
        figure = make_figure(comparison)
    except ImportError:
        return False
    write_whole(path, lambda file: figure.savefig(file, format="svg"))
    return True


def make_figure(comparison: Comparison) -> "Figure":
    """Return the picture of a comparison, with the panel of latencies if there is a common runtime.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    panels = _panels(comparison)
    figure = Figure(figsize=(5.2 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, panel in zip(axes, panels, strict=True):
        _draw_points(ax, panel, comparison)
    axes[0].set_ylabel(f"{comparison.split} accuracy (%)", fontsize=9)
    bars = f"{CONFIDENCE:.0%} intervals of accuracy" + ", quartiles of latency" * (len(panels) > 1)
    caption = (
        f"{comparison.rows[0].score.images:,} {comparison.split} images; bars: {bars}. {RULE} On the front: filled; "
        "dominated: hollow."
    )
    figure.supxlabel("\n".join(textwrap.wrap(caption, 78 * len(panels))), fontsize=7.5, color="#444444")
    texts = [_texts(ax, comparison) for ax in axes]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # labels are placed for these sizes of the panels
    for ax, panel, labels in zip(axes, panels, texts, strict=True):
        _place(ax, panel, comparison, labels)
    return figure


def _panels(comparison: Comparison) -> list[Panel]:
    panels = []
    runtime, front = comparison.runtime, comparison.front_of_latency()
    if runtime is not None and front is not None:
        found = [row.latencies[runtime][1] for row in comparison.rows]
        threads = f"{comparison.threads} thread{'s' if comparison.threads > 1 else ''}"
        title = f"latency at batch 1 in {runtime}, {threads} (ms)"
        ranges = [(latency.lower_ms, latency.upper_ms) for latency in found]
        panels.append(Panel(title, [latency.median_ms for latency in found], ranges, front))
    sizes = [row.bytes for row in comparison.rows]
    factor, unit = (1e6, "MB") if max(sizes) >= 1e6 else (1e3, "kB")
    return [*panels, Panel(f"size ({unit})", [size / factor for size in sizes], None, comparison.front_of_bytes())]


def _draw_points(ax: "Axes", panel: Panel, comparison: Comparison) -> None:
    for place, row in enumerate(comparison.rows):
        accuracy, cost = 100 * row.score.accuracy, panel.costs[place]
        low, high = (100 * bound for bound in row.score.interval)
        sideways = None
        if panel.ranges is not None:
            lower, upper = panel.ranges[place]
            sideways = [[cost - lower], [upper - cost]]
        colour = _FRONT if panel.on_front[place] else _DOMINATED
        ax.errorbar(
            [cost],
            [accuracy],
            yerr=[[accuracy - low], [high - accuracy]],
            xerr=sideways,
            fmt="o",
            markersize=_MARKER,
            color=colour,
            markerfacecolor=colour if panel.on_front[place] else "white",
            elinewidth=0.8,
            alpha=0.9,
        )
    if max(panel.costs) > _LOGARITHMIC * min(panel.costs) > 0:
        _make_logarithmic(ax)
    ax.set_xlabel(panel.title, fontsize=9)
    ax.tick_params(labelsize=8, which="both")
    ax.margins(x=0.25, y=0.25)
    ax.grid(color="#dddddd", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _make_logarithmic(ax: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _texts(ax: "Axes", comparison: Comparison) -> "list[Text]":
    return [ax.text(0, 0, row.name, fontsize=7.5, parse_math=False, in_layout=False) for row in comparison.rows]


def _place(ax: "Axes", panel: Panel, comparison: Comparison, texts: "Sequence[Text]") -> None:
    """Move the labels of a panel to free places, and draw a line from each to its point."""
    box, scale = ax.get_window_extent(), ax.figure.dpi / 72
    margin = 3 * scale
    inner = np.array([box.width, box.height]) - 2 * margin
    to_inner = np.array([box.x0, box.y0]) + margin
    points, obstacles = _boxes(ax, panel, comparison, scale, to_inner)
    extents = [text.get_window_extent() for text in texts]
    sizes = np.array([[extent.width, extent.height] for extent in extents]) + 2 * margin
    places = place_labels(points, sizes, obstacles, *inner)
    for place, text in enumerate(texts):
        middle = places[place] + sizes[place] / 2
        end = np.clip(points[place], places[place] + margin, places[place] + sizes[place] - margin)
        middle, point, end = ((own + margin) / [box.width, box.height] for own in (middle, points[place], end))
        text.set(transform=ax.transAxes, position=tuple(middle), ha="center", va="center")
        ax.plot(*zip(point, end, strict=True), transform=ax.transAxes, color="#999999", linewidth=0.5, zorder=1)


def _boxes(ax: "Axes", panel: Panel, comparison: Comparison, scale: float, origin: Array) -> tuple[Array, Array]:
    """Return the points of a panel (N, 2), and the boxes of their bars and markers (M, 4), in pixels from an origin."""
    rows, obstacles, points = comparison.rows, [], []
    ranges = panel.ranges or [(cost, cost) for cost in panel.costs]
    for cost, (lower, upper), row in zip(panel.costs, ranges, rows, strict=True):
        accuracy, low, high = (100 * share for share in (row.score.accuracy, *row.score.interval))
        ends = [(cost, accuracy), (cost, low), (cost, high), (lower, accuracy), (upper, accuracy)]
        point, bottom, top, left, right = ax.transData.transform(ends) - origin
        obstacles += [[*(bottom - scale), *(top + scale)], [*(left - scale), *(right + scale)]]
        obstacles.append([*(point - _MARKER * scale), *(point + _MARKER * scale)])
        points.append(point)
    return np.array(points), np.array(obstacles)
