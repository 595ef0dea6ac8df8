"""A study file: base configs, axes, and the figures of the results."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dasc.config_file import check_config_file, read_mapping
from dasc.errors import UserError, unknown_name
from dasc.study.analysis.figures import StudyFigure, parse_figure
from dasc.study.specification.axes import Override, is_seed, label_of, parse_axis, parse_override

_KEYS = ("extends", "name", "title", "configs", "set", "before", "axes", "exclude", "baseline", "figure")
_MERGED = ("set", "before", "axes")
_FILES = ("configs", "config", "extends")


@dataclass(frozen=True)
class Grid:
    """Base configs, overrides of all runs, and the overrides of each axis by label."""

    configs: tuple[str, ...]
    set: Override
    axes: Mapping[str, Mapping[str, Override]]

    @property
    def seed_axis(self) -> str | None:
        """The axis that changes the seed only, if there is one."""
        return next((name for name, labels in self.axes.items() if is_seed(labels)), None)

    @property
    def shown_axes(self) -> dict[str, list[str]]:
        """The labels of the axes but that of the seeds."""
        return {axis: list(labels) for axis, labels in self.axes.items() if axis != self.seed_axis}


@dataclass(frozen=True)
class StudyFile:
    """The content of a study file.

    Args:
        name: Name of the study and of its folder.
        grid: The study's own runs.
        before: Runs that others start from, by name: teachers, networks whose masks are taken.
        exclude: Combinations of labels that are not run.
        baseline: The labels that tables compare with, by axis.
        figures: The figures of the report.
        title: Headline of the report.
    """

    name: str
    grid: Grid
    before: Mapping[str, Grid] = field(default_factory=dict)
    exclude: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    baseline: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[StudyFigure, ...] = ()
    title: str = ""


def read_study(path: str | Path) -> StudyFile:
    """Read a study file, checked as far as that is possible without reading its configs as a whole."""
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
    """Read a file over the one that it extends, with paths relative to the working folder."""
    given = read_mapping(path, "study")
    for key in given:
        if key not in _KEYS:
            if any(name in given for name in ("stages", "model", "data", "trainer")):
                raise UserError(f"{path} is a config, not a study file: run it by dasc fit --config {path}")
            raise UserError(f"{path}: {unknown_name('key', str(key), _KEYS)}")
    given = {key: _resolve_paths(path.parent, value, key in _FILES) for key, value in given.items()}
    if "extends" not in given:
        return given
    extended = given["extends"]
    if not isinstance(extended, str):
        raise UserError(f"{path}: extends must be the path of one study file, got {extended!r}")
    if not Path(extended).is_file():
        raise UserError(f"{path}: extends must be a study file, got {extended}, which does not exist: check the path")
    if any(Path(extended).samefile(other) for other in (*extended_by, path)):
        raise UserError(f"{path}: extends must be another study file, got {extended}, which extends this one")
    base = _read(Path(extended), (*extended_by, path))
    for source, content in ((path, given), (extended, base)):
        for key in _MERGED:
            if not isinstance(content.get(key) or {}, dict):
                raise UserError(f"{source}: {key} must be a mapping, got {content[key]!r}")
    return {**base, **given, **{key: {**(base.get(key) or {}), **(given.get(key) or {})} for key in _MERGED}}


def _resolve_paths(folder: Path, given: Any, is_path: bool = False) -> Any:
    """Resolve paths under the keys of files against the folder of the study file."""
    if isinstance(given, list):
        return [_resolve_paths(folder, value, is_path) for value in given]
    if isinstance(given, dict) and not is_path:
        return {key: _resolve_paths(folder, value, key in _FILES) for key, value in given.items()}
    return str(folder / given) if is_path and isinstance(given, str) else given


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
    grid, figures = _grid("the study", given), given.get("figure") or []
    return StudyFile(
        name=name,
        grid=grid,
        before={str(key): _grid(f"before.{key}", value, grid) for key, value in before.items()},
        exclude=tuple(_labels("exclude", each, grid.axes) for each in exclude),
        baseline={axis: labels[0] for axis, labels in _labels("baseline", given.get("baseline"), grid.axes).items()},
        figures=tuple(
            parse_figure(each, grid.shown_axes) for each in (figures if isinstance(figures, list) else [figures])
        ),
        title=str(title),
    )


def _grid(where: str, given: Any, own: Grid | None = None) -> Grid:
    """Read a grid; one under `before` may name axes of the study's own."""
    names = [each.name for each in fields(Grid)]
    if not isinstance(given, Mapping) or not given.get("configs"):
        raise UserError(f"{where} has no configs: name the files that dasc fit would be given")
    for key in given if own is not None else ():
        if key not in names:
            raise UserError(f"{where}: {unknown_name('key', str(key), names)}")
    configs = given["configs"] if isinstance(given["configs"], list) else [given["configs"]]
    for config in configs:
        if not Path(str(config)).is_file():
            raise UserError(f"there is no base config {config}: paths are relative to the study file")
        check_config_file(config)
    axes = given.get("axes") or {}
    if isinstance(axes, list) and own is not None:
        for name in axes:
            if name not in own.axes:
                raise UserError(f"{where}: {unknown_name('axis', str(name), own.axes)}")
        parsed: Mapping[str, Mapping[str, Override]] = {name: own.axes[name] for name in axes}
    elif isinstance(axes, dict):
        parsed = {str(name): parse_axis(str(name), axis) for name, axis in axes.items()}
    else:
        raise UserError(f"{where}: axes are written {{NAME: {{KEY: VALUES}}}}, not {axes!r}")
    return Grid(tuple(map(str, configs)), parse_override(f"{where}, set", given.get("set")), parsed)


def _labels(where: str, given: Any, axes: Mapping[str, Mapping[str, Override]]) -> dict[str, tuple[str, ...]]:
    """Read labels by axis, one or several of each."""
    if not isinstance(given or {}, dict):
        raise UserError(f"{where} names labels by their axis, {{AXIS: LABEL}}, not {given!r}")
    read = {}
    for axis, labels in (given or {}).items():
        if axis not in axes:
            raise UserError(f"{where}: {unknown_name('axis', str(axis), axes)}")
        read[axis] = tuple(map(label_of, labels if isinstance(labels, list) else [labels]))
        if not read[axis]:
            raise UserError(f"{where}.{axis} must name a label of the axis, got an empty list")
        for label in read[axis]:
            if label not in axes[axis]:
                raise UserError(f"{where}: {unknown_name(f'label of the axis {axis}', label, axes[axis])}")
    return read
