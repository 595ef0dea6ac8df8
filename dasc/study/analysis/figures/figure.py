"""A figure of a study: what it shows, and the points that it is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pandas as pd

from dasc.callbacks.files import write_whole
from dasc.errors import UserError, unknown_name
from dasc.metrics import MetricFormat
from dasc.stages import Stage
from dasc.study.analysis.figures.drawing import add_legend, fit, make_panels, style
from dasc.study.analysis.results import Axes, axis_column, last_rows, metric_formats, seed_values, summarise
from dasc.study.analysis.table import Table
from dasc.study.plan import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.figure import Figure

INDEX = ("panel", "line", "x")
"""The levels of the points: a panel, a line or a group of bars in it, and the place on the x axis."""


class Drawn(NamedTuple):
    """The files of a figure, its title, and a description of what it shows."""

    svg: Path
    png: Path
    title: str
    description: str


class Legend(NamedTuple):
    """A note on the error bars, and the handles and labels of a legend."""

    note: str
    handles: Sequence[Any] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class StudyFigure:
    """A figure of one of the paper's forms. A new form is a subclass in a file of this folder, and its line in `KINDS`.

    Subclasses implement `columns`, `draw_panel`, `legend`, `describe` and `tables`.

    Args:
        title: Title over the figure.
        metric: The column of results.csv that is shown.
        lines: The axis whose labels are the lines.
        bars: The axis whose labels are the bars, in its order.
        groups: The axis whose labels are the groups of bars; None: one group.
        panels: The axis whose labels have a panel each; None: one panel.
        sizes: The axis whose labels are the sizes of networks along a line; None: the stages of each run.
    """

    title: str = ""
    metric: str = "test_accuracy"
    lines: str | None = None
    bars: str | None = None
    groups: str | None = None
    panels: str | None = None
    sizes: str | None = None

    kind: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    """Keys that name an axis of the study; the first one must be given, unless it is `panels`."""
    varies: ClassVar[tuple[str, Callable[[Stage], Any]] | None] = None
    """The name and the value of what the x axis needs two of."""

    def __post_init__(self) -> None:
        if self.metric not in metric_formats():
            raise UserError(unknown_name("metric", str(self.metric), metric_formats()))
        for key in ("lines", "bars", "groups", "panels", "sizes"):
            if getattr(self, key) is not None and key not in self.keys:
                raise UserError(f"a figure of kind {self.kind} has no {key}: it takes {', '.join(self.keys)}")
        needed = self.keys[0]
        if needed != "panels" and getattr(self, needed) is None:
            raise UserError(f"a figure of kind {self.kind} needs {needed}: name the axis of the study that it shows")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> StudyFigure:
        """Read a figure of a study file, without its kind."""
        names = [field.name for field in fields(cls)]
        for key in given:
            if key not in names:
                raise UserError(unknown_name("key of a figure", str(key), ["kind", *names]))
            if not isinstance(given[key], str | None):
                raise UserError(f"figure.{key} must be text, got {given[key]!r}")
        return cls(**given)

    @property
    def axes(self) -> dict[str, str]:
        """The axes that the figure names, by key."""
        return {key: axis for key in self.keys if (axis := getattr(self, key)) is not None}

    @property
    def format(self) -> MetricFormat:
        """The format of the metric."""
        return metric_formats()[self.metric]

    def check(self, axes: Axes, runs: Sequence[Run]) -> None:
        """Check that a study has what the figure shows, and that the figure shows all axes with several labels.

        Args:
            axes: The labels of the study's axes but that of the seeds.
            runs: The runs of the study.
        """
        shown = list(self.axes.values())
        if len(set(shown)) < len(shown):
            raise UserError(f"a figure shows an axis once, but its keys are {self.axes}: name different axes")
        if self.varies is not None:
            name, value_of = self.varies
            values = {value_of(stage) for run in runs for stage in run.stages}
            if len(values) < 2:
                raise UserError(
                    f"a figure of kind {self.kind} needs at least two {name}, the study has {len(values)}: add rows or "
                    "values, or draw another kind"
                )
        hidden = [axis for axis, labels in axes.items() if len(labels) > 1 and axis not in shown]
        if hidden and self.keys != ("panels",):
            keys = ", ".join(key for key in self.keys if key not in self.axes) or "no key is left"
            raise UserError(f"the figure does not show the axis {hidden[0]}: name it by a key of the figure ({keys})")

    def axis(self, key: str) -> str | None:
        """Return the column of the axis that a key names; None if it names none."""
        axis = getattr(self, key)
        return None if axis is None else axis_column(axis)

    def counted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that count: of each run, the last stage at each of its sparsities."""
        return last_rows(rows)

    def columns(self) -> tuple[str | None, str | None, str | None]:
        """Return the columns of the results that are the levels of `INDEX`; None for a level with one value."""
        raise NotImplementedError

    def draw_panel(self, panel: Panel, shown: pd.DataFrame, points: pd.DataFrame) -> None:
        """Draw the points of a panel, with the levels (line, x), among all points of the figure."""
        raise NotImplementedError

    def legend(self, points: pd.DataFrame) -> Legend:
        """Return the legend."""
        raise NotImplementedError

    def describe(self, points: pd.DataFrame) -> str:
        """Return a sentence on what is shown."""
        raise NotImplementedError

    def tables(self, rows: pd.DataFrame, axes: Axes, baseline: Mapping[str, str]) -> list[Table]:
        """Return the tables of what the figure shows."""
        raise NotImplementedError

    def width(self, points: pd.DataFrame) -> float | None:
        """Return the width of a panel in inches; None for the default."""
        return None

    def levelled(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that count, with the levels of `INDEX` as columns."""
        rows = self.counted(rows)
        levels = {level: rows[name] if name else "" for level, name in zip(INDEX, self.columns(), strict=True)}
        return rows.assign(**levels)

    def points(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return n, mean and std of each point, in the unit of the metric, with the levels of `INDEX`."""
        values = seed_values(self.levelled(rows), INDEX, self.metric)
        if values.empty:
            raise UserError(f"no run of the study has a {self.metric} yet: there is nothing to draw")
        return summarise(values * self.format.scale, INDEX)

    def compose(self, rows: pd.DataFrame) -> tuple[Figure, str]:
        """Return the figure, and its description."""
        points = self.points(rows)
        names = levels_of(points, "panel")
        titles = [f"{self.panels}: {name}" if self.panels else "" for name in names]
        figure, panels = make_panels(titles, self.title, self.format.title, self.width(points))
        for panel, name in zip(panels, names, strict=True):
            self.draw_panel(panel, points.loc[name], points)
        add_legend(figure, *self.legend(points))
        fit(figure, panels)
        note = note_of(points)
        return figure, f"{self.describe(points)} {note[0].upper()}{note[1:]}."

    def draw(self, rows: pd.DataFrame, path: Path) -> Drawn:
        """Draw the figure into an SVG and a PNG beside it; the path has no suffix. Equal rows give equal files."""
        svg, png = path.with_name(f"{path.name}.svg"), path.with_name(f"{path.name}.png")
        with style():
            figure, said = self.compose(rows)
            title = self.title or self.format.title
            about: Any = {"Title": title, "Description": said, "Creator": "dasc", "Date": None}
            write_whole(svg, lambda file: figure.savefig(file, format="svg", metadata=about))
            write_whole(png, lambda file: figure.savefig(file, format="png", dpi=200, metadata={"Software": None}))
        return Drawn(svg, png, title, said)


def levels_of(points: pd.DataFrame, level: str) -> list[Any]:
    """Return the values of a level of the index, in their order."""
    return list(points.index.unique(level).sort_values())


def note_of(points: pd.DataFrame) -> str:
    """Return what the error bars are."""
    low, high = points["n"].min(), points["n"].max()
    seeds = high if low == high else f"{low} to {high}"
    return "one seed" if high == 1 else f"mean, error bars: standard deviation over {seeds} seeds"
