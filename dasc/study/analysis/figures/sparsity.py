"""Accuracy over sparsity, a line for each label of an axis (Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from dasc.study.analysis.figures.figure import levels_of
from dasc.study.analysis.figures.lines import LinesFigure
from dasc.study.analysis.results import Axes
from dasc.study.analysis.table import Table
from dasc.study.analysis.tables import matrices

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel


class SparsityFigure(LinesFigure):
    """Accuracy over sparsity."""

    kind, keys = "sparsity", ("lines", "panels")
    varies = "sparsities", lambda stage: stage.sparsity

    def columns(self) -> tuple[str | None, str | None, str | None]:
        return self.axis("panels"), self.axis("lines"), "sparsity_asked"

    def places(self, points: pd.DataFrame) -> pd.Series:
        return 100 * points.index.get_level_values("x").to_series(points.index).astype(float)

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        super().draw_panel(panel, shown, points)
        ticks = [100 * float(x) for x in levels_of(shown, "x")]
        if len(ticks) <= 10:
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.set_xlabel("Sparsity (%)")

    def describe(self, points: pd.DataFrame) -> str:
        return f"{self.format.title} over sparsity, by {self.lines}."

    def tables(self, rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str]) -> list[Table]:
        return matrices(rows, axes, baseline, self.metric)
