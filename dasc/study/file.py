"""A study file: base configs, axes, and what is made of the results."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dasc.config_file import check_config_file, read_mapping
from dasc.errors import UserError, unknown_name
from dasc.study.axes import Override, is_seed, parse_axis, parse_override
from dasc.study.figure_spec import FigureSpec

RUN = "run"
"""The key of a value that stands for a checkpoint of another run: `{run: NAME, checkpoint: last}`."""


@dataclass(frozen=True)
class Grid:
    """Base configs, what is set for all runs, and axes: one run for each combination of their labels.

    Args:
        configs: The files that `dasc fit` would be given, in order.
        set: Overrides of all runs.
        axes: The labels and overrides of each axis.
    """

    configs: tuple[str, ...]
    set: Override
    axes: Mapping[str, Mapping[str, Override]]

    @property
    def seed_axis(self) -> str | None:
        """The axis that changes the seed and nothing else, if there is one."""
        return next((name for name, labels in self.axes.items() if is_seed(labels)), None)


@dataclass(frozen=True)
class StudyFile:
    """What a study file says.

    Args:
        name: The study's name, and that of its folder.
        grid: The study's own runs.
        before: Runs that others start from, by name: teachers, networks whose masks are taken.
        exclude: Combinations of labels that are not run.
        baseline: The labels that tables compare with, by axis.
        figures: What is drawn.
        title: The headline of the report.
    """

    name: str
    grid: Grid
    before: Mapping[str, Grid] = field(default_factory=dict)
    exclude: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    baseline: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[FigureSpec, ...] = ()
    title: str = ""


_KEYS = ("extends", "name", "title", "configs", "set", "before", "axes", "exclude", "baseline", "figure")


def read_study(path: str | Path) -> StudyFile:
    """Read a study file, checked as far as it can be without the configs that it names.

    Raises:
        UserError: It is missing, or a key, an axis or a label in it is wrong.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: there is no such study file ({kind}): check the path")
    given = _read(path)
    try:
        return _study(given)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file over the one that it extends; the paths in both become relative to where dasc is run."""
    given = read_mapping(path, "study")
    for key in given:
        if key not in _KEYS:
            if any(str(name) in _OF_CONFIG for name in given):
                raise UserError(f"{path} is a config, not a study file: run it by dasc fit --config {path}")
            raise UserError(f"{path}: {unknown_name('key', str(key), _KEYS)}")
    given = {str(key): value for key, value in _beside(path.parent, given).items()}
    if "extends" not in given:
        return given
    base = _read(_extended(path, given["extends"], extended_by), (*extended_by, path))
    for source, content in ((path, given), (Path(given["extends"]), base)):
        for key in _MERGED:
            if not isinstance(content.get(key) or {}, dict):
                raise UserError(f"{source}: {key} must be a mapping, got {content[key]!r}")
    merged = {key: {**(base.get(key) or {}), **(given.get(key) or {})} for key in _MERGED}
    return {**base, **given, **merged}


_MERGED = ("set", "before", "axes")
_OF_CONFIG = ("stages", "model", "data", "trainer")


def _extended(path: Path, given: Any, extended_by: tuple[Path, ...]) -> Path:
    """Return the file that a study file extends."""
    if not isinstance(given, str):
        raise UserError(f"{path}: extends must be the path of one study file, got {given!r}")
    if not Path(given).is_file():
        raise UserError(f"{path}: extends must be a study file, got {given}, which does not exist: check the path")
    if any(Path(given).samefile(other) for other in (*extended_by, path)):
        raise UserError(f"{path}: extends must be another study file, got {given}, which extends this one")
    return Path(given)


def _beside(folder: Path, given: Any) -> Any:
    """Resolve the files that are named under `configs`, `config` and `extends` against the study file's folder."""
    if isinstance(given, list):
        return [_beside(folder, value) for value in given]
    if not isinstance(given, dict):
        return given
    return {key: _paths(folder, value) if key in _FILES else _beside(folder, value) for key, value in given.items()}


_FILES = ("configs", "config", "extends")


def _paths(folder: Path, given: Any) -> Any:
    if isinstance(given, list):
        return [_paths(folder, value) for value in given]
    return str(folder / given) if isinstance(given, str) else given


def _study(given: Mapping[str, Any]) -> StudyFile:
    for key in ("name", "configs", "axes"):
        if not given.get(key):
            raise UserError(f"{key} is missing: a study has a name, base configs and axes")
    name = given["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"name is {name!r}: write letters, digits, - and _, it becomes a folder's name")
    title, before, exclude = given.get("title") or name, given.get("before") or {}, given.get("exclude") or []
    for key, value, kind, rule in (
        ("title", title, str | int | float, "text"),
        ("before", before, Mapping, "a mapping {NAME: {configs: FILES}}"),
        ("exclude", exclude, list, "a list of {AXIS: LABEL}"),
    ):
        if not isinstance(value, kind):
            raise UserError(f"{key} must be {rule}, got {value!r}")
    grid = _grid("the study", given)
    return StudyFile(
        name=name,
        grid=grid,
        before={str(key): _grid(f"before.{key}", value, grid) for key, value in before.items()},
        exclude=tuple(_labels("exclude", each, grid.axes) for each in exclude),
        baseline={axis: labels[0] for axis, labels in _labels("baseline", given.get("baseline"), grid.axes).items()},
        figures=_figures(given.get("figure") or [], grid),
        title=str(title),
    )


def _figures(given: Any, grid: Grid) -> tuple[FigureSpec, ...]:
    """Read the figures, which name axes other than that of the seeds."""
    figures = tuple(FigureSpec.parse(each) for each in (given if isinstance(given, list) else [given]))
    shown = [axis for axis in grid.axes if axis != grid.seed_axis]
    for figure in figures:
        figure.check_axes(shown)
    return figures


def _grid(where: str, given: Any, own: Grid | None = None) -> Grid:
    """Read a grid; one under `before` may name axes of the study's own."""
    names = [each.name for each in fields(Grid)]
    if not isinstance(given, Mapping) or not given.get("configs"):
        raise UserError(f"{where} has no configs: name the files that dasc fit would be given")
    if where != "the study":
        for key in given:
            if key not in names:
                raise UserError(f"{where}: {unknown_name('key', str(key), names)}")
    configs = given["configs"] if isinstance(given["configs"], list) else [given["configs"]]
    for config in configs:
        if not Path(str(config)).is_file():
            raise UserError(f"there is no base config {config}: paths are relative to the study file")
        check_config_file(config)
    return Grid(
        configs=tuple(map(str, configs)),
        set=parse_override(f"{where}, set", given.get("set")),
        axes=_axes(where, given.get("axes") or {}, own),
    )


def _axes(where: str, given: Any, own: Grid | None) -> dict[str, Mapping[str, Override]]:
    if isinstance(given, list) and own is not None:
        for name in given:
            if name not in own.axes:
                raise UserError(f"{where}: {unknown_name('axis', str(name), own.axes)}")
        return {name: own.axes[name] for name in given}
    if not isinstance(given, dict):
        raise UserError(f"{where}: axes are written {{NAME: {{KEY: VALUES}}}}, not {given!r}")
    return {str(name): parse_axis(str(name), axis) for name, axis in given.items()}


def _labels(where: str, given: Any, axes: Mapping[str, Mapping[str, Override]]) -> dict[str, tuple[str, ...]]:
    """Read labels by axis, one or several of each."""
    if not isinstance(given or {}, dict):
        raise UserError(f"{where} names labels by their axis, {{AXIS: LABEL}}, not {given!r}")
    read = {}
    for axis, labels in (given or {}).items():
        if axis not in axes:
            raise UserError(f"{where}: {unknown_name('axis', str(axis), axes)}")
        read[axis] = tuple(map(str, labels if isinstance(labels, list) else [labels]))
        if not read[axis]:
            raise UserError(f"{where}.{axis} must name a label of the axis, got an empty list")
        for label in read[axis]:
            if label not in axes[axis]:
                raise UserError(f"{where}: {unknown_name(f'label of the axis {axis}', label, axes[axis])}")
    return read
