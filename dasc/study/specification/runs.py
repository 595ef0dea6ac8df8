"""The runs of a study: one for each combination of labels, with a config of its own."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dasc.config import ConfigReader
from dasc.config_file import read_mapping
from dasc.errors import UserError, unknown_name
from dasc.messages import sentence
from dasc.stages import Stages
from dasc.study.folders import checkpoint_path, run_folder
from dasc.study.plan import STUDY, Run
from dasc.study.specification.axes import SEED, Override, is_rows, with_rows
from dasc.study.specification.file import StudyFile
from dasc.study.specification.sharing import content_base, content_id, leaves

RUN = "run"
"""The key of a value that names a checkpoint of another run: `{run: NAME, checkpoint: last}`."""

_LEAST = ["--stages=[{epochs: 1}]", "--model=Classifier", "--model.network=CifarResNet", "--data=ImageData"]

_Steps = list[tuple[str, Override]]
"""Overrides in the order in which they are applied, each with where it is from."""


def resolve_runs(study: StudyFile, results: Path, reader: ConfigReader, options: Override) -> list[Run]:
    """Return the runs of a study in the order of its axes, each trained whole, after those that it starts from.

    Args:
        study: The study file.
        results: Folder of the study.
        reader: Reader of options of `dasc fit`.
        options: Overrides of all runs, over those of the file.
    """
    resolver = _Resolver(study, results, reader, options)
    combinations = (dict(zip(study.grid.axes, c, strict=True)) for c in itertools.product(*study.grid.axes.values()))
    for labels in combinations:
        if not any(all(labels[axis] in out[axis] for axis in out) for out in study.exclude):
            resolver.run(STUDY, labels)
    first: dict[str, Run] = {}
    for run in resolver.found.values():
        if run.part == STUDY and first.setdefault(run.id, run) is not run:
            raise UserError(
                f"two runs have the same content: '{first[run.id].title}' and '{run.title}': "
                "leave one out, or let their overrides differ"
            )
    if not first:
        raise UserError("exclude leaves no run: take a line out of it")
    return list(resolver.found.values())


@dataclass
class _Options:
    """Options of `dasc fit`; the table is kept apart."""

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


class _Resolver:
    """Reader of the configs of runs, each once; runs whose configs differ in the table only share one reading."""

    def __init__(self, study: StudyFile, results: Path, reader: ConfigReader, options: Override) -> None:
        self.found: dict[tuple[str, tuple[tuple[str, str], ...]], Run] = {}
        self._study, self._results, self._reader, self._options = study, results, reader, options
        self._trainer = reader.read(_LEAST)["trainer"]
        self._read: dict[tuple[str, ...], dict[str, Any]] = {}
        self._open: list[str] = []

    def run(self, part: str, labels: Mapping[str, str]) -> Run:
        """Return the run of a part with its labels."""
        key = (part, tuple(labels.items()))
        if key not in self.found:
            if part in self._open:
                raise UserError(f"before.{part} starts from itself: a run can start from runs that do not need it")
            self._open.append(part)
            run = self._resolve(part, labels)
            self._open.pop()
            self.found[key] = run
        return self.found[key]

    def _resolve(self, part: str, labels: Mapping[str, str]) -> Run:
        grid = self._study.grid if part == STUDY else self._study.before[part]
        steps: _Steps = [("set", grid.set)]
        steps += [(f"axis {axis}, {label}", grid.axes[axis][label]) for axis, label in labels.items()]
        steps.append(("the command line", self._options))
        options, starts = _Options(), dict[str, Run]()
        for path in grid.configs:
            options.add("config", path)
        for where, override in steps:
            for name, value in override.items():
                try:
                    options.add(name, self._insert_paths(value, labels, starts))
                except UserError as error:
                    raise UserError(f"{where}: {error}") from None
        config = self._config(options, steps)
        stages = Stages.parse(config["stages"]).scaled(config["epochs_scale"], config["auxiliary_scale"]).rows
        base = content_base(config, self._trainer, {p: f"{run.id}/{Path(p).stem}" for p, run in starts.items()})
        words = ", ".join(f"{axis} {label}" for axis, label in labels.items()) or "the only one"
        return Run(
            id=content_id(base, stages),
            title=words if part == STUDY else f"{part}: {words}",
            part=part,
            labels=dict(labels),
            seed=config[SEED],
            rows=len(stages),
            after=tuple(dict.fromkeys(run.id for run in starts.values())),
            config=config,
            stages=stages,
            base=base,
        )

    def _insert_paths(self, value: Any, labels: Mapping[str, str], starts: dict[str, Run]) -> Any:
        """Replace `{run: NAME, checkpoint: last}` in a value by the path of that checkpoint."""
        if not isinstance(value, dict):
            return value
        if RUN not in value:
            return {key: self._insert_paths(inner, labels, starts) for key, inner in value.items()}
        run = self.run(value[RUN], self._labels_of(value[RUN], labels))
        rows = range(1, run.rows + 1)
        names = ["last", "best", *(f"stage-{k}" for k in rows), *(f"stage-{k}-best" for k in rows)]
        name = str(value.get("checkpoint", "last"))
        if name not in names:
            raise UserError(unknown_name("checkpoint", name, names))
        path = str(checkpoint_path(run_folder(self._results, run.id), name))
        starts[path] = run
        return path

    def _labels_of(self, part: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of the run in another part that a run starts from: equal on the axes of that part."""
        if part not in self._study.before:
            raise UserError(unknown_name("name under before", str(part), self._study.before))
        axes = self._study.before[part].axes
        for axis in axes:
            if axis not in labels:
                raise UserError(f"before.{part} has an axis {axis}, the runs that start from it have none of that name")
            if labels[axis] not in axes[axis]:
                raise UserError(f"before.{part}: {unknown_name(f'label of the axis {axis}', labels[axis], axes[axis])}")
        return {axis: labels[axis] for axis in axes}

    def _config(self, options: _Options, steps: _Steps) -> dict[str, Any]:
        key = tuple(options.words)
        if key not in self._read:
            try:
                self._read[key] = self._reader.read([*options.words, *options.table_words()])
            except Exception as error:
                raise self._explain(error, steps, options) from error
        if options.table is None:
            return self._read[key]
        try:
            return self._read[key] | {"stages": Stages.parse(options.table).dump()}
        except UserError as error:
            raise UserError(f"{', '.join(where for where, _ in steps)}: {error}") from None

    def _explain(self, error: Exception, steps: _Steps, options: _Options) -> Exception:
        """Return an error that names the override with the mistake, and the nearest key."""
        reason = sentence(error)
        if reason is None:
            return error
        files = [word for a, b in itertools.pairwise(options.words) if a == "--config" for word in (a, b)]
        try:
            known = {_short(key) for key in leaves(self._reader.read([*files, *options.table_words()], whole=True))}
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
