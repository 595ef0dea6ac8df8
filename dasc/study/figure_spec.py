"""Which figure a study asks for, and whether its axes can feed it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from dasc.errors import UserError, unknown_name
from dasc.study.points import metric_formats

AXES = {"magnitude": ("panels",), "sparsity": ("lines", "panels"), "bars": ("bars", "groups", "panels")}
"""The kinds of figures, and the keys of each that name an axis of the study."""

NEEDED = {"magnitude": (), "sparsity": ("lines",), "bars": ("bars",)}


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the paper's form.

    Args:
        kind: `magnitude`: accuracy over M, a line for each sparsity with its optimal and maximal M (Figs. 1, 2);
            `sparsity`: accuracy over sparsity, a line for each label of an axis (Fig. 3); `bars`: grouped bars of the
            last stage (Figs. 4, 6, 7).
        title: Stands over the figure.
        metric: The column of results.csv that is shown.
        lines: The axis whose labels are the lines of `sparsity`.
        bars: The axis whose labels are the bars of `bars`, in its order.
        groups: The axis whose labels are the groups of `bars`; None: one group.
        panels: The axis whose labels have a panel each; None: one panel.

    Raises:
        UserError: The kind or the metric is unknown, or a key is missing or not of this kind.
    """

    kind: str
    title: str = ""
    metric: str = "test_accuracy"
    lines: str | None = None
    bars: str | None = None
    groups: str | None = None
    panels: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in AXES:
            raise UserError(unknown_name("kind of figure", str(self.kind), AXES))
        if self.metric not in metric_formats():
            raise UserError(unknown_name("metric", str(self.metric), metric_formats()))
        for key in ("lines", "bars", "groups", "panels"):
            if getattr(self, key) is not None and key not in AXES[self.kind]:
                raise UserError(f"a figure of kind {self.kind} has no {key}: it takes {', '.join(AXES[self.kind])}")
        for key in NEEDED[self.kind]:
            if getattr(self, key) is None:
                raise UserError(f"a figure of kind {self.kind} needs {key}: name the axis of the study that it shows")

    @classmethod
    def parse(cls, given: Any) -> Self:
        """Read a figure as it stands in a study file."""
        if not isinstance(given, dict) or "kind" not in given:
            raise UserError(f"a figure is written {{kind: sparsity, lines: schedule}}, not {given!r}")
        names = [field.name for field in fields(cls)]
        for key in given:
            if key not in names:
                raise UserError(unknown_name("key of a figure", str(key), names))
            if not isinstance(given[key], str | None):
                raise UserError(f"figure.{key} must be text, got {given[key]!r}")
        return cls(**given)

    @property
    def axes(self) -> dict[str, str]:
        """The axes that the figure names, by key."""
        named = {key: getattr(self, key) for key in AXES[self.kind]}
        return {key: axis for key, axis in named.items() if axis is not None}

    def check_axes(self, axes: Collection[str]) -> None:
        """Check that the axes that the figure names are among those of the study, but for that of the seeds.

        Raises:
            UserError: One is not.
        """
        for key, axis in self.axes.items():
            if axis not in axes:
                raise UserError(f"figure.{key}: {unknown_name('axis', axis, axes)}")

    def check(self, axes: Mapping[str, Sequence[str]], tables: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Check that a study can feed the figure.

        Args:
            axes: The labels of the study's axes, but for that of the seeds.
            tables: The table of stages of each run, each row with `magnitude` and `sparsity`.

        Raises:
            UserError: It cannot, and why.
        """
        self.check_axes(axes)
        if len(set(self.axes.values())) < len(self.axes):
            raise UserError(f"a figure shows an axis once, but its keys are {self.axes}: name different axes")
        if self.kind == "magnitude":
            self._check_range("magnitudes", {str(row["magnitude"]) for table in tables for row in table})
        if self.kind == "sparsity":
            self._check_range("sparsities", {row["sparsity"] for table in tables for row in table})
        hidden = [axis for axis, labels in axes.items() if len(labels) > 1 and axis not in self.axes.values()]
        if self.kind != "magnitude" and hidden:
            keys = ", ".join(key for key in AXES[self.kind] if key not in self.axes) or "no key is left"
            raise UserError(
                f"the figure does not show the axis {hidden[0]}: name it under a key of the figure ({keys})"
            )

    def _check_range(self, what: str, values: set[Any]) -> None:
        if len(values) < 2:
            raise UserError(
                f"a figure of kind {self.kind} needs at least two {what}, the study has {len(values)}: "
                "add rows or values, or draw another kind"
            )
