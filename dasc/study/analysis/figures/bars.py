"""Grouped bars of the last stage (Figs. 4, 6, 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from dasc.study.analysis.figures.drawing import COLOURS, HATCHES, wrap
from dasc.study.analysis.figures.figure import Legend, StudyFigure, levels_of, note_of
from dasc.study.analysis.results import Axes, final_rows
from dasc.study.analysis.table import Table
from dasc.study.analysis.tables import combinations

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel

_GROUP = 0.84
"""Share of a group's width that its bars take."""


class BarsFigure(StudyFigure):
    """Bars of the last stage, in groups."""

    kind, keys = "bars", ("bars", "groups", "panels")

    def counted(self, rows: pd.DataFrame) -> pd.DataFrame:
        return final_rows(rows)

    def columns(self) -> tuple[str | None, str | None, str | None]:
        return self.axis("panels"), self.axis("groups"), self.axis("bars")

    def width(self, points: pd.DataFrame) -> float:
        bars, groups = len(levels_of(points, "x")), len(levels_of(points, "line"))
        return groups * ((0.6 if self.groups else 0.95) * bars + 0.3) + 0.8

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        groups, bars = levels_of(points, "line"), levels_of(points, "x")
        width = _GROUP / len(bars)
        offsets = [(i - (len(bars) - 1) / 2) * width for i in range(len(bars))]
        for bar, those in shown.groupby(level="x", observed=True):
            i = bars.index(bar)
            places = [groups.index(group) + offsets[i] for group in those.index.get_level_values("line")]
            errors = None if those["std"].isna().all() else those["std"].fillna(0)
            drawn = panel.bar(
                places, those["mean"], 0.94 * width, yerr=errors, error_kw={"elinewidth": 1, "capsize": 3}, **_look(i)
            )
            panel.bar_label(drawn, fmt=f"%.{self.format.digits}f", padding=4, fontsize=8)
        start, end = _range(points)
        panel.set(xlim=(-0.5, len(groups) - 0.5), ylim=(start, end), xlabel=self.groups or self.bars)
        ticks = dict(enumerate(groups)) if self.groups else dict(zip(offsets, bars, strict=True))
        panel.set_xticks(list(ticks), [wrap(label, 1.6) for label in ticks.values()])
        if start and panel.get_ylabel():
            panel.set_ylabel(f"{self.format.title}\n(axis starts at {start:g})")

    def legend(self, points: pd.DataFrame) -> Legend:
        bars = levels_of(points, "x")
        if not self.groups:  # the labels are under the bars
            return Legend(note_of(points))
        from matplotlib.patches import Patch

        return Legend(f"{self.bars} ({note_of(points)})", [Patch(**_look(i)) for i in range(len(bars))], bars)

    def describe(self, points: pd.DataFrame) -> str:
        by = f"{self.bars} and {self.groups}" if self.groups else self.bars
        return f"{self.format.title} of the last stage, by {by}."

    def tables(self, rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str]) -> list[Table]:
        return [combinations(final_rows(rows), axes, baseline, self.metric)]


def _look(i: int) -> dict[str, Any]:
    from matplotlib.colors import to_rgb

    pale = tuple(0.5 + 0.5 * part for part in to_rgb(COLOURS[i % len(COLOURS)]))
    return {"facecolor": pale, "edgecolor": "black", "linewidth": 0.8, "hatch": HATCHES[i % len(HATCHES)]}


def _range(points: pd.DataFrame) -> tuple[float, float]:
    """Return the range of the y axis: from 0, unless all bars would look alike."""
    from matplotlib.ticker import MaxNLocator

    errors, means, start = points["std"].fillna(0), points["mean"], 0.0
    low, high = (means - errors).min(), (means + errors).max()
    if means.max() - means.min() < 0.2 * means.max() and high > low:
        start = max(0.0, float(MaxNLocator(4).tick_values(low - 0.15 * (high - low), high)[0]))
    return start, high + 0.22 * (high - start) or 1.0
