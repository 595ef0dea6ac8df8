"""Time that the runs of a study will take, from those that are finished."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dasc.study.folders import read_result
from dasc.study.plan import Run


def seconds_of_runs(runs: Iterable[Run], results: Path) -> dict[str, tuple[float, float]] | None:
    """Return the least and the most seconds of training of each unfinished run, by its ID.

    An epoch takes what the finished runs of the same module, network, data and trainer took. None if there is no
    finished run for one of the unfinished ones.
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
