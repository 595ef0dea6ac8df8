"""Carrying out the jobs of a study, each after those that it waits for."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from dasc.errors import one_line
from dasc.study.jobs import Job
from dasc.study.runners import Runner
from dasc.study.work import WorkOrder


def carry_out(
    jobs: Sequence[Job],
    done: set[str],
    runner: Runner,
    order: Callable[[Job], WorkOrder],
    tell: Callable[[Job, str | None], None],
) -> dict[str, str]:
    """Carry out jobs; one that fails stops those that wait for it and no others.

    Args:
        jobs: Each stands after those that it waits for.
        done: The ids of those that are finished already.
        runner: Takes the orders.
        order: Makes a job's order.
        tell: Is told of each job as it ends, and what went wrong.

    Returns:
        What went wrong, by the id of the job.
    """
    done, failed = set(done), dict[str, str]()
    titles = {job.id: job.title for job in jobs}
    waiting = [job for job in jobs if job.id not in done]
    running: dict[Future[str | None], Job] = {}
    while waiting or running:
        for job in [job for job in waiting if any(before in failed for before in job.after)]:
            before = next(titles[before] for before in job.after if before in failed)
            failed[job.id] = f"not begun: it starts from {before}"
            waiting.remove(job)
            tell(job, failed[job.id])
        for job in [job for job in waiting if done.issuperset(job.after)]:
            if runner.slots is None or len(running) < runner.slots:
                running[runner.submit(order(job))] = job
                waiting.remove(job)
        if not running:
            continue
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            error = _error_of(future)
            if error is None:
                done.add(job.id)
            else:
                failed[job.id] = error
            tell(job, error)
    return failed


def _error_of(future: "Future[str | None]") -> str | None:
    try:
        return future.result()
    except Exception as error:  # the runner itself: a lost cluster
        return f"{type(error).__name__}: {one_line(error)}"
