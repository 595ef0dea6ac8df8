"""Accuracy over RandAugment's magnitude, a line for each sparsity (Figs. 1, 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from dasc.errors import UserError
from dasc.study.analysis.figures.drawing import error_bars, line_keys, line_look
from dasc.study.analysis.figures.figure import Legend, StudyFigure, levels_of, note_of
from dasc.study.analysis.results import Axes, is_number, last_rows, maximal, optimal
from dasc.study.analysis.table import Table
from dasc.study.analysis.tables import combinations, magnitudes
from dasc.study.plan import STUDY, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel


class MagnitudeFigure(StudyFigure):
    """Accuracy over magnitude, with the optimal and the maximal one of each sparsity."""

    kind, keys = "magnitude", ("panels",)
    varies = "magnitudes", lambda stage: str(stage.magnitude)

    def columns(self) -> tuple[str | None, str | None, str | None]:
        return self.axis("panels"), "sparsity_asked", "magnitude"

    def check(self, axes: Axes, runs: Sequence[Run]) -> None:
        """Check also that an axis that is not shown changes the table of stages only: a point is of one network."""
        super().check(axes, runs)
        first: dict[tuple[int | None, str | None], Run] = {}
        for run in (run for run in runs if run.part == STUDY):
            other = first.setdefault((run.seed, run.labels.get(self.panels or "")), run)
            if run.base != other.base:
                hidden = next(axis for axis in axes if run.labels.get(axis) != other.labels.get(axis))
                raise UserError(
                    f"the figure does not show the axis {hidden}, which changes more than the table of stages: name it "
                    "by a key of the figure (panels)"
                )

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        lines, common = levels_of(points, "line"), _places(levels_of(points, "x"))
        for line, those in shown.groupby(level="line", observed=True):
            those, look = those.droplevel("line"), line_look(i := lines.index(line))
            shift = 0.4 * (i - (len(lines) - 1) / 2) / len(lines)  # beside each other where they are no numbers
            places = {m: common[m] + (0 if is_number(m) else shift) for m in those.index}
            apart = [[m] for m in those.index if not is_number(m)]
            for joined in filter(None, ([m for m in those.index if is_number(m)], *apart)):
                error_bars(panel, [places[m] for m in joined], those.loc[joined], look)
            means = dict(those["mean"])
            if "none" in means:
                panel.axhline(means["none"], color=look["color"], linestyle=(0, (6, 4)), linewidth=0.9, alpha=0.45)
            for symbol, found in (("v", maximal(means, self.metric)), ("*", optimal(means, self.metric))):
                if found is not None:
                    panel.plot(places[str(found)], means[str(found)], **_mark(symbol, look["color"]), clip_on=False)
        left, right = ([place for m, place in common.items() if is_number(m) is apart] for apart in (False, True))
        if left and right:
            panel.axvline((max(left) + min(right)) / 2, color="#bbbbbb", linewidth=0.8, zorder=0)
        step = -(-len(common) // 16)
        ticks = sorted((m for i, m in enumerate(common) if i % step == 0 or not is_number(m)), key=lambda m: common[m])
        panel.set_xticks([common[m] for m in ticks], ticks)
        panel.set_xlabel("RandAugment magnitude M (0-30)")

    def legend(self, points: pd.DataFrame) -> Legend:
        labels = [f"sparsity {100 * line:g} %" for line in levels_of(points, "line")]
        looks = [*map(line_look, range(len(labels))), *(_mark(symbol, "white") for symbol in "*v")]
        return Legend(note_of(points), line_keys(looks), [*labels, "optimal M", "maximal M"])

    def describe(self, points: pd.DataFrame) -> str:
        labels = ", ".join(f"sparsity {100 * line:g} %" for line in levels_of(points, "line"))
        marks = "Optimal M: of the best mean; maximal M: the largest that is not worse than none."
        return f"{self.format.title} over RandAugment magnitude M; {labels}. {marks}"

    def tables(self, rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str]) -> list[Table]:
        kept = last_rows(rows)
        kept = kept.assign(axis_M=kept["magnitude"])
        panels = {self.panels: axes[self.panels]} if self.panels else {}
        compared = {"M": "none"} if (kept["axis_M"] == "none").any() else {}
        by_magnitude = combinations(kept, {**panels, "M": ()}, compared, self.metric, "sparsity_asked")
        return [magnitudes(self.points(rows), self.panels, self.metric), by_magnitude]


def _places(magnitudes: Sequence[str]) -> dict[str, float]:
    """Return the place of each magnitude: integers at their value, others to the left of them."""
    numbers = [int(m) for m in magnitudes if is_number(m)] or [0]
    apart = [m for m in magnitudes if not is_number(m)]
    gap = max(1.0, (0.09 if len(apart) < 2 else 0.17) * (numbers[-1] - numbers[0]))
    return {m: float(m) if is_number(m) else numbers[0] - gap * (apart.index(m) + 1) for m in magnitudes}


def _mark(symbol: str, colour: str) -> dict[str, Any]:
    size = 11 if symbol == "*" else 16  # where both are at one point, each is seen
    look = {"marker": symbol, "markersize": size, "color": colour, "linestyle": "none", "zorder": 5}
    return look | {"markeredgecolor": "black", "markeredgewidth": 0.9}
