"""Accuracy over sparsity, a line for each label of an axis (Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from dasc.study.analysis.figures.drawing import error_bars, line_keys, line_look
from dasc.study.analysis.figures.figure import Legend, StudyFigure, levels_of, note_of
from dasc.study.analysis.results import Axes
from dasc.study.analysis.table import Table
from dasc.study.analysis.tables import matrices

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel


class SparsityFigure(StudyFigure):
    """Accuracy over sparsity."""

    kind, keys = "sparsity", ("lines", "panels")
    varies = "sparsities", lambda stage: stage.sparsity

    def columns(self) -> tuple[str | None, str | None, str | None]:
        return self.axis("panels"), self.axis("lines"), "sparsity_asked"

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        lines, ticks = levels_of(points, "line"), [100 * float(x) for x in levels_of(shown, "x")]
        for line, those in shown.groupby(level="line", observed=True):
            places = [100 * float(x) for x in those.index.get_level_values("x")]
            error_bars(panel, places, those, line_look(lines.index(line)))
        if len(ticks) <= 10:
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.set_xlabel("Sparsity (%)")

    def legend(self, points: pd.DataFrame) -> Legend:
        lines = levels_of(points, "line")
        return Legend(f"{self.lines} ({note_of(points)})", line_keys([line_look(i) for i in range(len(lines))]), lines)

    def describe(self, points: pd.DataFrame) -> str:
        return f"{self.format.title} over sparsity, by {self.lines}."

    def tables(self, rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str]) -> list[Table]:
        return matrices(rows, axes, baseline, self.metric)
