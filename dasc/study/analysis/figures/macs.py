"""Accuracy over multiply-accumulate operations: what networks with fewer channels give up for what they save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from dasc.study.analysis.figures.figure import INDEX
from dasc.study.analysis.figures.lines import LinesFigure
from dasc.study.analysis.results import Axes, axis_column, final_rows, last_rows
from dasc.study.analysis.table import Table
from dasc.study.analysis.tables import SHARES, combinations, matrices, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel

_MILLION = 1e6


class MacsFigure(LinesFigure):
    """Accuracy over the MACs of a forward pass; zeros in weights count, as they do in dense kernels.

    A point is the last stage of the runs with a label of the axis `sizes`. Without that axis it is the last stage of
    each run at each share of removed channels, and a line joins the stages of a run.
    """

    kind, keys = "macs", ("panels", "lines", "sizes")

    def counted(self, rows: pd.DataFrame) -> pd.DataFrame:
        if self.sizes:
            return final_rows(rows)
        return last_rows(rows.assign(channels=rows.get("channels", 0.0)), "channels")

    def columns(self) -> tuple[str | None, str | None, str | None]:
        return self.axis("panels"), self.axis("lines"), self.axis("sizes") or "channels"

    def points(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the points as `StudyFigure.points`, with their mean MACs."""
        macs = self.levelled(rows).groupby(list(INDEX), observed=True)["macs"].mean()
        return super().points(rows).join(macs)

    def places(self, points: pd.DataFrame) -> pd.Series:
        return points["macs"] / _MILLION

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        super().draw_panel(panel, shown, points)
        panel.set_xlabel("MACs of one image (millions)")

    def describe(self, points: pd.DataFrame) -> str:
        return f"{self.format.title} over MACs{f', by {self.lines}' if self.lines else ''}."

    def tables(self, rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str]) -> list[Table]:
        kept = self.counted(rows)
        if self.sizes:
            return [combinations(kept, axes, baseline, self.metric), _sizes(kept, axes)]
        shares = matrices(kept, axes, baseline, self.metric, "channels")
        return [*shares, _sizes(kept, axes, "channels")]


def _sizes(rows: pd.DataFrame, axes: Axes, share: str | None = None) -> Table:
    """Return the MACs and the parameters of each combination of labels, means over the seeds."""
    by = [*map(axis_column, axes), *([share] if share else [])]
    cells = []
    for key, those in rows.drop_duplicates([*by, "seed"]).groupby(by, observed=True):
        labels = [percent(p) if name == share else str(p) for name, p in zip(by, key, strict=True)]
        counts = (f"{those[name].mean():,.0f}" for name in ("parameters", "nonzero_parameters"))
        cells.append([*labels, f"{those['macs'].mean() / _MILLION:.2f}", *counts])
    header = [*axes, *([SHARES[share]] if share else []), "MACs (millions)", "parameters", "non-zero parameters"]
    caption = "Sizes, means over the seeds. A MAC is a multiplication and an addition."
    return Table(header, cells, caption, left={*range(len(axes))}).compacted(range(len(axes)))
