"""What is trained for a study: each run once, and stages that runs share once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dasc.config import ConfigReader
from dasc.stages import Stage
from dasc.study.cells import Cell, content_id
from dasc.study.file import StudyFile


@dataclass(frozen=True)
class Job:
    """One training: a run, or the first stages of several.

    Args:
        id: Names its content, and its folder.
        title: The run that it is, or the first of those that share it.
        config: All of what `dasc fit` is given.
        epochs: Epochs that are trained here, without those of the job that it goes on from.
        rows: Rows of its table.
        start: The job whose last stage it goes on from.
        start_rows: Rows of that job's table, which are the first of its own.
        needs: The jobs whose checkpoints its config names.
    """

    id: str
    title: str
    config: Mapping[str, Any]
    epochs: int
    rows: int
    start: str | None = None
    start_rows: int = 0
    needs: tuple[str, ...] = ()

    @property
    def after(self) -> tuple[str, ...]:
        """The jobs that have to be finished before."""
        return self.needs if self.start is None else (self.start, *self.needs)


@dataclass(frozen=True)
class Study:
    """A study with its runs and what is trained for them."""

    file: StudyFile
    results: Path
    cells: Sequence[Cell]
    jobs: Sequence[Job]
    reader: ConfigReader


@dataclass
class _Node:
    """A row of a table among the tables that begin with the same rows."""

    cell: Cell
    depth: int
    next: dict[Stage, Self] = field(default_factory=dict)
    ends: bool = False

    @property
    def shared(self) -> bool:
        return self.depth > 0 and not self.ends and len(self.next) > 1


def plan_jobs(cells: Sequence[Cell]) -> list[Job]:
    """Return what is trained, each job after those that it waits for.

    Runs that begin with the same rows, and are equal in all but the table, go on from one training of those rows: an
    equal row after equal rows leaves equal weights (design: a row's randomness depends on seed and epoch alone).
    """
    roots: dict[str, _Node] = {}
    for cell in cells:
        node = roots.setdefault(cell.base, _Node(cell, 0))
        for depth, row in enumerate(cell.stages, start=1):
            node = node.next.setdefault(row, _Node(cell, depth))
        node.ends, node.cell = True, cell
    found = {job.id: job for root in roots.values() for job in _below(root, None)}
    return _sort(found, cells)


def epochs_of(cells: Sequence[Cell], jobs: Sequence[Job]) -> tuple[int, int]:
    """Return the epochs of all runs if each were trained whole, and those that are trained."""
    runs = {cell.id: cell for cell in cells}
    return sum(cell.stages.total_epochs for cell in runs.values()), sum(job.epochs for job in jobs)


def _below(node: _Node, start: Job | None) -> Iterator[Job]:
    if node.ends or node.shared:
        start = _job(node, start)
        yield start
    for following in node.next.values():
        yield from _below(following, start)


def _job(node: _Node, start: Job | None) -> Job:
    cell, rows = node.cell, node.depth
    begun = 0 if start is None else start.rows
    whole = rows == len(cell.stages)
    return Job(
        id=content_id(cell.base, cell.stages, rows),
        title=cell.title if whole else f"stage {rows} of {cell.title} and others",
        config=cell.config if whole else {**cell.config, "stages": cell.config["stages"][:rows]},
        epochs=sum(row.epochs for row in cell.stages.rows[begun:rows]),
        rows=rows,
        start=None if start is None else start.id,
        start_rows=begun,
        needs=cell.needs,
    )


def _sort(jobs: Mapping[str, Job], cells: Sequence[Cell]) -> list[Job]:
    """Put the jobs into the order of the runs, each after those that it waits for."""
    ordered: dict[str, Job] = {}

    def put(job: Job) -> None:
        for before in job.after:
            if before not in ordered:
                put(jobs[before])
        ordered.setdefault(job.id, job)

    for cell in cells:
        put(jobs[cell.id])
    return list(ordered.values())
