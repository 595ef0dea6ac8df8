"""A figure with a line for each label of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from dasc.study.analysis.figures.drawing import error_bars, line_keys, line_look
from dasc.study.analysis.figures.figure import Legend, StudyFigure, levels_of, note_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel


class LinesFigure(StudyFigure):
    """Lines through points at places on the x axis. Subclasses implement `places`, and what else a figure needs."""

    def places(self, points: pd.DataFrame) -> pd.Series:
        """Return the place of each point on the x axis."""
        raise NotImplementedError

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        lines = levels_of(points, "line")
        for line, those in shown.groupby(level="line", observed=True):
            places = self.places(those).sort_values(kind="stable")
            error_bars(panel, list(places), those.loc[places.index], line_look(lines.index(line)))

    def legend(self, points: pd.DataFrame) -> Legend:
        if not self.lines:
            return Legend(note_of(points))
        lines = levels_of(points, "line")
        return Legend(f"{self.lines} ({note_of(points)})", line_keys([line_look(i) for i in range(len(lines))]), lines)
