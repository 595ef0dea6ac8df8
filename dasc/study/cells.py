"""The runs of a study: one for each combination of labels, with a config of its own."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dasc.config import ConfigReader
from dasc.config_file import read_mapping
from dasc.errors import UserError, unknown_name
from dasc.messages import sentence
from dasc.stages import Stages
from dasc.study.axes import SEED, Override, is_rows, with_rows
from dasc.study.file import RUN, Grid, StudyFile
from dasc.study.folders import checkpoint_path, run_folder

STUDY = "study"
"""The part of a study that its own runs are in; others are those that they start from."""

_ELSEWHERE = (
    *("ckpt_path", "trust", "weights_only"),
    *("trainer.default_root_dir", "trainer.logger", "trainer.enable_progress_bar"),
    *("data.init_args.root", "data.init_args.download", "data.init_args.num_workers", "data.init_args.on_device"),
)
"""Where things lie and how they are shown: a run with other values of these has the same content."""

_LEAST = ["--stages=[{epochs: 1}]", "--model=Classifier", "--model.network=CifarResNet", "--data=ImageData"]


@dataclass(frozen=True)
class Cell:
    """A run: what it is called, and its config.

    Args:
        part: `study`, or the name under `before`.
        labels: Its label on each axis.
        seed: Its seed.
        id: Names its content, 12 hexadecimal digits.
        base: Names its content but for the table of stages.
        config: All of what `dasc fit` is given, as plain data.
        stages: Its table as it will be trained, with the scales applied.
        needs: The ids of the runs that its config names a checkpoint of.
    """

    part: str
    labels: Mapping[str, str]
    seed: int
    id: str
    base: str
    config: Mapping[str, Any]
    stages: Stages
    needs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its labels in words, as `magnitude 14, seed 0`."""
        words = ", ".join(f"{axis} {label}" for axis, label in self.labels.items()) or "the only one"
        return words if self.part == STUDY else f"{self.part}: {words}"


class Cells:
    """Resolves the runs of a study.

    Args:
        study: The study file.
        results: The study's folder.
        reader: Reads options as `dasc fit` does.
        options: Overrides of all runs, over those of the file.
    """

    def __init__(self, study: StudyFile, results: Path, reader: ConfigReader, options: Override) -> None:
        self._study = study
        self._results = results
        self._reader = reader
        self._options = options
        self._trainer = reader.read(_LEAST)["trainer"]
        self._read: dict[tuple[str, ...], dict[str, Any]] = {}
        self._found: dict[tuple[str, tuple[tuple[str, str], ...]], Cell] = {}
        self._open: list[str] = []

    def all(self) -> list[Cell]:
        """Return the study's runs in the order of its axes, each after those that it starts from.

        Raises:
            UserError: A config cannot be read, or two runs have the same content.
        """
        own = [self._cell(STUDY, labels) for labels in self._combinations(self._study.grid)]
        if not own:
            raise UserError("exclude leaves no run: take a line out of it")
        first: dict[str, Cell] = {}
        for cell in own:
            if cell.id in first:
                raise UserError(
                    f"two runs have the same content: '{first[cell.id].title}' and '{cell.title}': "
                    "leave one out, or let their overrides differ"
                )
            first[cell.id] = cell
        return list(self._found.values())

    def _combinations(self, grid: Grid) -> Iterator[dict[str, str]]:
        for labels in itertools.product(*grid.axes.values()):
            named = dict(zip(grid.axes, labels, strict=True))
            if not any(all(named[axis] in out[axis] for axis in out) for out in self._study.exclude):
                yield named

    def _cell(self, part: str, labels: Mapping[str, str]) -> Cell:
        key = (part, tuple(labels.items()))
        if key not in self._found:
            if part in self._open:
                raise UserError(f"before.{part} starts from itself: a run can start from runs that do not need it")
            self._open.append(part)
            cell = self._resolve(part, labels)
            self._open.pop()
            self._found[key] = cell
        return self._found[key]

    def _resolve(self, part: str, labels: Mapping[str, str]) -> Cell:
        grid = self._study.grid if part == STUDY else self._study.before[part]
        options = _Options()
        for path in grid.configs:
            options.add("config", path)
        steps = [("set", grid.set), *((f"axis {a}, {label}", grid.axes[a][label]) for a, label in labels.items())]
        steps.append(("the command line", self._options))
        starts: dict[str, Cell] = {}
        for where, override in steps:
            for name, value in override.items():
                try:
                    options.add(name, self._insert_paths(value, labels, starts))
                except UserError as error:
                    raise UserError(f"{where}: {error}") from None
        config = self._config(options, steps)
        stages = Stages.parse(config["stages"]).scaled(config["epochs_scale"], config["auxiliary_scale"])
        base = self._base(config, {path: f"{cell.id}/{Path(path).stem}" for path, cell in starts.items()})
        return Cell(
            part=part,
            labels=dict(labels),
            seed=config[SEED],
            id=content_id(base, stages),
            base=base,
            config=config,
            stages=stages,
            needs=tuple(dict.fromkeys(cell.id for cell in starts.values())),
        )

    def _insert_paths(self, value: Any, labels: Mapping[str, str], starts: dict[str, Cell]) -> Any:
        """Put the paths of checkpoints where a value names runs of the study."""
        if not isinstance(value, dict):
            return value
        if RUN not in value:
            return {key: self._insert_paths(inner, labels, starts) for key, inner in value.items()}
        cell = self._cell(value[RUN], self._labels_of(value[RUN], labels))
        rows = range(1, len(cell.stages) + 1)
        names = ["last", "best", *(f"stage-{k}" for k in rows), *(f"stage-{k}-best" for k in rows)]
        name = str(value.get("checkpoint", "last"))
        if name not in names:
            raise UserError(unknown_name("checkpoint", name, names))
        path = str(checkpoint_path(run_folder(self._results, cell.id), name))
        starts[path] = cell
        return path

    def _labels_of(self, part: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of the run in another part that goes with a run: equal on the axes they share."""
        if part not in self._study.before:
            raise UserError(unknown_name("name under before", str(part), self._study.before))
        axes = self._study.before[part].axes
        for axis in axes:
            if axis not in labels:
                raise UserError(f"before.{part} has an axis {axis}, the runs that start from it have none of that name")
            if labels[axis] not in axes[axis]:
                raise UserError(f"before.{part}: {unknown_name(f'label of the axis {axis}', labels[axis], axes[axis])}")
        return {axis: labels[axis] for axis in axes}

    def _config(self, options: "_Options", steps: list[tuple[str, Override]]) -> dict[str, Any]:
        """Read the options; runs that differ in their table only are read once."""
        key = tuple(options.words)
        if key not in self._read:
            try:
                self._read[key] = self._reader.read([*options.words, *options.table_words()])
            except Exception as error:
                raise _explain(error, steps, self._reader, options) from error
        if options.table is None:
            return self._read[key]
        try:
            return self._read[key] | {"stages": Stages.parse(options.table).dump()}
        except UserError as error:
            raise UserError(f"{', '.join(where for where, _ in steps)}: {error}") from None

    def _base(self, config: Mapping[str, Any], starts: Mapping[str, str]) -> str:
        kept = {k: v for k, v in config.items() if k not in ("stages", "epochs_scale", "auxiliary_scale")}
        kept["trainer"] = {k: v for k, v in kept["trainer"].items() if v != self._trainer.get(k)}
        leaves = {key: value for key, value in _leaves(kept).items() if key not in _ELSEWHERE}
        return _digest(
            {key: starts.get(value, value) if isinstance(value, str) else value for key, value in leaves.items()}
        )


def content_id(base: str, stages: Stages, rows: int | None = None) -> str:
    """Return the id of a run, or of one that trains the first `rows` rows of its table."""
    return _digest([base, stages.dump()[:rows]])


@dataclass
class _Options:
    """What `dasc fit` would be given, but for the table, which is kept apart."""

    words: list[str] = field(default_factory=list)
    table: list[dict[str, Any]] | None = None

    def add(self, key: str, value: Any) -> None:
        if key == "config":
            for path in value if isinstance(value, list) else [value]:
                self._add_file(str(path))
        elif key == "stages":
            self.table = Stages.parse(value).dump()
        elif is_rows(key):
            if self.table is None:
                raise UserError(f"{key} changes rows of a table, but no config before it has one")
            self.table = with_rows(self.table, key, value)
        elif key.startswith("stages["):
            raise UserError(f"{key} names no rows: write stages[*].COLUMN, stages[0].COLUMN or stages[1:].COLUMN")
        else:
            self.words.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")

    def table_words(self) -> list[str]:
        return [] if self.table is None else [f"--stages={json.dumps(self.table)}"]

    def _add_file(self, path: str) -> None:
        if not Path(path).is_file():
            raise UserError(f"there is no config {path}: paths are relative to the study file")
        self.words += ["--config", path]
        read = read_mapping(path)
        if "stages" in read:
            self.table = Stages.parse(read["stages"]).dump()


def _explain(error: Exception, steps: list[tuple[str, Override]], reader: ConfigReader, options: _Options) -> Exception:
    """Say which override is not understood, with the nearest key."""
    reason = sentence(error)
    if reason is None:
        return error
    files = list(itertools.chain(*((a, b) for a, b in itertools.pairwise(options.words) if a == "--config")))
    try:
        known = {_short(key) for key in _leaves(reader.read([*files, *options.table_words()], whole=True))}
    except Exception:  # the configs themselves are wrong: the reason says it
        return UserError(reason)
    for where, override in steps:
        for key in override:
            if key == "config" or key.startswith("stages"):
                continue
            if not any(name == _short(key) or name.startswith(f"{_short(key)}.") for name in known):
                return UserError(f"{where}: {unknown_name('key', key, known)}")
    return UserError(f"{', '.join(where for where, override in steps if override)}: {reason}")


def _short(key: str) -> str:
    return key.replace("init_args.", "")


def _leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a config by their dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping) and value
        found |= _leaves(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
