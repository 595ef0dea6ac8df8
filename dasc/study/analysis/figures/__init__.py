"""Figures of the paper's forms, by the value of `kind` in a study file."""

from collections.abc import Collection
from typing import Any

from dasc.errors import UserError, unknown_name
from dasc.study.analysis.figures.bars import BarsFigure
from dasc.study.analysis.figures.figure import StudyFigure
from dasc.study.analysis.figures.macs import MacsFigure
from dasc.study.analysis.figures.magnitude import MagnitudeFigure
from dasc.study.analysis.figures.sparsity import SparsityFigure

KINDS: dict[str, type[StudyFigure]] = {
    kind.kind: kind for kind in (MagnitudeFigure, SparsityFigure, BarsFigure, MacsFigure)
}


def parse_figure(given: Any, axes: Collection[str]) -> StudyFigure:
    """Read a figure of a study file, whose axes are those of the study but that of the seeds."""
    if not isinstance(given, dict) or "kind" not in given:
        raise UserError(f"a figure is written {{kind: sparsity, lines: schedule}}, not {given!r}")
    if not isinstance(given["kind"], str):
        raise UserError(f"figure.kind must be text, got {given['kind']!r}")
    if given["kind"] not in KINDS:
        raise UserError(unknown_name("kind of figure", given["kind"], KINDS))
    figure = KINDS[given["kind"]].parse({key: value for key, value in given.items() if key != "kind"})
    for key, axis in figure.axes.items():
        if axis not in axes:
            raise UserError(f"figure.{key}: {unknown_name('axis', axis, axes)}")
    return figure


__all__ = ["KINDS", "StudyFigure", "parse_figure"]
