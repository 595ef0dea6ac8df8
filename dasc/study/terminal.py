"""Output of `dasc study` in the terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dasc.study.analysis.magnitudes import DRAWS, Suited
from dasc.study.folders import is_locked, read_error, read_result, run_folder
from dasc.study.plan import SHARED, Plan, Run

CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)

_MEANING = (
    f"Eq. 3: best on augmented validation images ({DRAWS} draws); optimal: best clean validation accuracy; "
    "maximal: the largest not worse than none"
)


def show_plan(plan: Plan, results: Path, jobs: int) -> None:
    """Print the runs, what they share, and the time that they will take."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "", "epochs", "of them shared"):
        table.add_column(name, overflow="fold")
    runs = [run for run in plan.runs if run.part != SHARED]
    for run in runs:
        total = sum(stage.epochs for stage in run.stages)
        table.add_row(run.id, run.title, str(total), str(total - run.epochs))
    CONSOLE.print(table)
    whole = sum(stage.epochs for run in {run.id: run for run in runs}.values() for stage in run.stages)
    trained = sum(run.epochs for run in plan.trainings.values())
    CONSOLE.print(
        f"{len({run.id for run in runs})} runs, {whole} epochs if each were trained whole; shared stages are trained "
        f"once: {trained} epochs, {1 - trained / whole:.0%} less"
    )
    left = [run for run in plan.trainings.values() if read_result(results, run.id) is None]
    if not left:
        CONSOLE.print(f"All are finished: {results}")
        return
    head = f"{len(left)} of {len(plan.trainings)} trainings are to be done"
    seconds = seconds_of_runs(plan.trainings.values(), results)
    if seconds is None:
        CONSOLE.print(f"{head}; the time that they take is known once a training of each kind is finished")
        return
    bounds = [{name: both[i] for name, both in seconds.items()} for i in (0, 1)]
    alone = _range(*(sum(bound.values()) for bound in bounds))
    together = _range(*(span(left, bound, jobs) for bound in bounds))
    CONSOLE.print(f"{head}: {alone} of training one after the other, {together} with --jobs {jobs}, by those finished")


def show_status(plan: Plan, results: Path) -> None:
    """Print the state of each run."""
    counts: Counter[str] = Counter()
    for run in plan.trainings.values():
        state = _state(results, run.id)
        counts[state.partition(":")[0]] += 1
        CONSOLE.print(f"{run.id}  {run.title}: {state}")
    CONSOLE.print(", ".join(f"{number} {name}" for name, number in counts.items()))


def show_magnitudes(found: Sequence[Suited]) -> None:
    """Print what suits each sparsity."""
    table = Table(box=None, pad_edge=False, caption=_MEANING, caption_justify="left")
    for name in ("sparsity", "M* (Eq. 3)", "optimal", "maximal"):
        table.add_column(name, justify="right")
    for each in found:
        cells = (each.eq3, each.optimal, each.maximal)
        table.add_row(f"{each.sparsity:.0%}", *("-" if value is None else str(value) for value in cells))
    CONSOLE.print(table)


def duration(seconds: float) -> str:
    """Return a time in words."""
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if seconds < 5400 else f"{hours} h"


def _range(low: float, high: float) -> str:
    return " to ".join(dict.fromkeys((duration(low), duration(high))))


def _state(results: Path, run: str) -> str:
    folder = run_folder(results, run)
    if read_result(results, run) is not None:
        return "finished"
    if is_locked(folder):
        return "running"
    if error := read_error(results, run):
        return f"failed: {error}"
    return "interrupted" if (folder / "lightning_logs").is_dir() else "not begun"


def seconds_of_runs(runs: Iterable[Run], results: Path) -> dict[str, tuple[float, float]] | None:
    """Return the least and the most seconds of each unfinished run, by ID; None if none like one of them is finished.

    An epoch takes what it took in the finished runs of the same module, network, data and trainer.
    """
    known: dict[str, list[float]] = {}
    left = []
    for run in runs:
        result = read_result(results, run.id)
        if result is None:
            left.append(run)
        elif result["timing"]["epochs"]:
            known.setdefault(_kind(run), []).append(result["timing"]["seconds"] / result["timing"]["epochs"])
    if any(_kind(run) not in known for run in left):
        return None
    return {run.id: (run.epochs * min(known[_kind(run)]), run.epochs * max(known[_kind(run)])) for run in left}


def span(runs: Iterable[Run], seconds: Mapping[str, float], slots: int) -> float:
    """Return the seconds until runs are carried out by a number of processes."""
    free, ends = [0.0] * slots, dict[str, float]()
    for run in runs:
        begins = max([min(free), *(ends.get(before, 0.0) for before in run.after)])
        ends[run.id] = begins + seconds[run.id]
        free[free.index(min(free))] = ends[run.id]
    return max(ends.values(), default=0.0)


def _kind(run: Run) -> str:
    """Return what decides the time of an epoch, as text; rows may still differ in their blocks."""
    blocks = [row.get("auxiliary", 0) for row in run.config["stages"]]
    return repr(([run.config[key] for key in ("model", "data", "trainer")], blocks[-1] if run.start else blocks))
