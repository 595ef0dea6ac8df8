"""What `dasc study` prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dasc.messages import sentence
from dasc.study.estimate import START, seconds_per_epoch, span
from dasc.study.folders import ERROR, LOCK, RESULT, is_finished, is_locked, run_folder
from dasc.study.jobs import Study, epochs_of
from dasc.study.magnitudes import DRAWS, Suited

CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)


def show_plan(read: Study, slots: int) -> None:
    """Print the runs, what they share, and how long they will take."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "", "epochs", "of them shared"):
        table.add_column(name, overflow="fold")
    jobs = {job.id: job for job in read.jobs}
    for cell in read.cells:
        total = cell.stages.total_epochs
        table.add_row(cell.id, cell.title, str(total), str(total - jobs[cell.id].epochs))
    CONSOLE.print(table)
    whole, trained = epochs_of(read.cells, read.jobs)
    runs = {cell.id for cell in read.cells}
    CONSOLE.print(
        f"{len(runs)} runs, {whole} epochs if each were trained whole; shared stages are trained once: "
        f"{trained} epochs, {1 - trained / whole:.0%} less"
    )
    left = [job for job in read.jobs if not is_finished(read.results, job.id)]
    if not left:
        CONSOLE.print(f"All are finished: {read.results}")
        return
    try:
        epoch = seconds_per_epoch(read.jobs, read.results, read.reader)
    except Exception as error:
        reason = sentence(error)
        if reason is None:
            raise
        CONSOLE.print(f"{len(left)} of {len(read.jobs)} trainings are to be done; how long they take: {reason}")
        return
    seconds = {job.id: START + job.epochs * epoch[job.id] for job in left}
    CONSOLE.print(
        f"{len(left)} of {len(read.jobs)} trainings are to be done: about {duration(sum(seconds.values()))} one after "
        f"the other, {duration(span(left, seconds, slots))} with --jobs {slots} (each as fast as if it were alone)"
    )


def show_status(plan: Mapping[str, Any], results: Path) -> None:
    """Print the state of each job."""
    counts: dict[str, int] = {}
    for job in plan["jobs"]:
        state = _state(run_folder(results, job["id"]))
        name = state.partition(":")[0]
        counts[name] = counts.get(name, 0) + 1
        CONSOLE.print(f"{job['id']}  {job['title']}: {state}")
    CONSOLE.print(", ".join(f"{number} {name}" for name, number in counts.items()))


def _state(folder: Path) -> str:
    if (folder / RESULT).is_file():
        return "finished"
    if is_locked(folder / LOCK):
        return "running"
    if (folder / ERROR).is_file():
        return f"failed: {(folder / ERROR).read_text().strip()}"
    return "broken off" if (folder / "lightning_logs").is_dir() else "not begun"


def show_magnitudes(found: Sequence[Suited]) -> None:
    """Print what suits each sparsity."""
    table = Table(box=None, pad_edge=False, caption=_MEANING, caption_justify="left")
    for name in ("sparsity", "M* (Eq. 3)", "optimal", "maximal"):
        table.add_column(name, justify="right")
    for each in found:
        cells = (each.eq3, each.optimal, each.maximal)
        table.add_row(f"{each.sparsity:.0%}", *("-" if value is None else str(value) for value in cells))
    CONSOLE.print(table)


_MEANING = (
    f"Eq. 3: best on augmented validation images ({DRAWS} draws); optimal: best clean validation accuracy; "
    "maximal: the largest not worse than none"
)


def duration(seconds: float) -> str:
    """Return a time in words."""
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if seconds < 5400 else f"{hours} h"
