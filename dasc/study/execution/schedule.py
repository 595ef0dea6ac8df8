"""Order of the runs of a study: each after those that it starts from."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from graphlib import TopologicalSorter

from dasc.errors import one_line
from dasc.study.execution.runners.runner import Runner
from dasc.study.plan import Run

NOT_BEGUN = "not begun"
"""Start of the error of a run that starts from one that failed."""


def carry_out(
    runs: Iterable[Run], done: Iterable[str], runner: Runner, tell: Callable[[Run, str | None], None]
) -> dict[str, str]:
    """Carry out runs but those that are done; one that fails stops those that start from it, and no others.

    Args:
        runs: Runs in the order in which they are begun, as far as they need not wait for each other.
        done: IDs of finished runs.
        runner: Where they are carried out.
        tell: Called with each run as it ends, and its error.

    Returns:
        The errors by ID.
    """
    done, failed, order = set(done), dict[str, str](), [run.id for run in runs]
    left = {run.id: run for run in runs if run.id not in done}
    sorter = TopologicalSorter({run.id: set(run.after) - done for run in left.values()})
    sorter.prepare()
    ready: list[str] = []
    running: dict[Future[str | None], Run] = {}
    while running or sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=order.index)
        while ready and (runner.slots is None or len(running) < runner.slots):
            run = left[ready.pop(0)]
            running[runner.submit(run)] = run
        if not running:
            break  # the others start from runs that failed
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            run = running.pop(future)
            error = future.exception() or future.result()
            if error is None:
                done.add(run.id)
                sorter.done(run.id)
            else:
                # an exception is of the runner itself, such as a lost cluster
                failed[run.id] = error if isinstance(error, str) else f"{type(error).__name__}: {one_line(error)}"
            tell(run, failed.get(run.id))
    for run in left.values():
        if run.id not in done | failed.keys():
            before = next(name for name in run.after if name not in done)
            failed[run.id] = f"{NOT_BEGUN}: it starts from {left[before].title}"
            tell(run, failed[run.id])
    return failed
