"""The plan of a study: its runs and what they share, in memory and as plan.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dasc.stages import Stage
from dasc.study.folders import PLAN, read_json, write_json

STUDY = "study"
"""The part of a study that its own runs are in; other parts are the names under `before`."""

SHARED = "shared"
"""The part of the first stages that several runs share."""


@dataclass(frozen=True)
class Run:
    """One training of a study: a combination of labels, or the first stages that several combinations share.

    Args:
        id: Hash of its content, 12 hexadecimal digits; it names the folder.
        title: Its labels in words.
        part: `study`, a name under `before`, or `shared`.
        labels: Its label on each axis; none for shared stages.
        seed: Its seed; None where an earlier version did not record it.
        rows: Number of rows of its table.
        start: ID of the run whose last stage it continues from.
        start_rows: Number of rows of that run's table, which are the first of its own.
        after: IDs of the runs that have to be finished before.
        config: All options of `dasc fit`; empty if the plan was read from plan.json.
        stages: Its table as it is trained, with the scales applied; empty if the plan was read from plan.json.
        base: Hash of all of its content but the table.
    """

    id: str
    title: str
    part: str = STUDY
    labels: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    rows: int = 1
    start: str | None = None
    start_rows: int = 0
    after: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stages: tuple[Stage, ...] = field(default=(), repr=False)
    base: str = ""

    @property
    def epochs(self) -> int:
        """Epochs that are trained in this run, without those of the run that it continues from."""
        return sum(stage.epochs for stage in self.stages[self.start_rows :])

    def recorded(self) -> dict[str, Any]:
        """Return what plan.json has of the run."""
        return {name: value for name, value in vars(self).items() if name not in ("config", "stages", "base")}


@dataclass(frozen=True)
class Plan:
    """The runs of a study.

    Args:
        study: Name of the study.
        command: The command that was run.
        axes: Labels of each axis but that of the seeds.
        runs: Runs in the order of the axes; shared stages are before the first run that continues from them. One
            training may have several combinations of labels, each with a run of the same ID.
        threads: CPU threads of each training; None where an earlier version did not record them.
    """

    study: str
    command: str
    axes: Mapping[str, Sequence[str]]
    runs: Sequence[Run]
    threads: int | None = None

    @property
    def trainings(self) -> dict[str, Run]:
        """The runs by their IDs, each once."""
        return {run.id: run for run in self.runs}

    def write(self, results: Path) -> None:
        """Write plan.json into the folder of the study."""
        write_json(results / PLAN, {**vars(self), "runs": [run.recorded() for run in self.runs]})

    @classmethod
    def read(cls, results: Path) -> Self | None:
        """Return the plan in the folder of a study; None if nothing was run there."""
        given = read_json(results / PLAN)
        if given is None:
            return None
        jobs = {job["id"]: job for job in given.pop("jobs", ())}  # an earlier version wrote them apart from the runs
        shared = [job for job in jobs.values() if all(job["id"] != run["id"] for run in given["runs"])]
        runs = [Run(**{**jobs.get(run["id"], {}), "part": SHARED, **run}) for run in (*shared, *given["runs"])]
        return cls(**{**given, "runs": runs})
