import argparse
from concurrent.futures import Future
from typing import Self

from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.execution.schedule import carry_out
from dasc.study.plan import Run


class Recorder(Runner):
    """Carries out orders at once, and remembers when it was given them; those named in `bad` fail."""

    def __init__(self, slots: int | None, bad: tuple[str, ...] = (), lost: tuple[str, ...] = ()) -> None:
        self.slots = slots
        self.given: list[str] = []
        self._bad = bad
        self._lost = lost

    @classmethod
    def make(cls, given: argparse.Namespace, work: Work) -> Self:
        return cls(work.threads)

    def submit(self, run: Run) -> "Future[str | None]":
        self.given.append(run.id)
        future: Future[str | None] = Future()
        if run.id in self._lost:
            future.set_exception(RuntimeError("the worker\nis gone"))
        else:
            future.set_result("no memory" if run.id in self._bad else None)
        return future

    def stop(self) -> None: ...


def job(name: str, *after: str) -> Run:
    return Run(id=name, title=f"run {name}", after=after)


JOBS = [job("a"), job("b", "a"), job("c", "b"), job("d", "a"), job("e")]


def carried_out(runner: Recorder, done: tuple[str, ...] = ()) -> tuple[dict[str, str], list[tuple[str, str | None]]]:
    told: list[tuple[str, str | None]] = []
    return carry_out(JOBS, done, runner, lambda ended, error: told.append((ended.id, error))), told


def test_a_job_is_given_out_after_those_that_it_waits_for() -> None:
    runner = Recorder(slots=1)
    assert carried_out(runner)[0] == {}
    assert runner.given == ["a", "b", "c", "d", "e"]


def test_no_more_are_given_out_than_there_are_slots_and_all_that_can_where_there_is_no_limit() -> None:
    runner = Recorder(slots=None)
    carried_out(runner)
    assert runner.given[:2] == ["a", "e"]  # at once; the others once a is done
    assert sorted(runner.given) == ["a", "b", "c", "d", "e"]


def test_what_is_finished_is_not_given_out() -> None:
    runner = Recorder(slots=2)
    carried_out(runner, done=("a", "e"))
    assert sorted(runner.given) == ["b", "c", "d"]


def test_one_that_fails_stops_those_that_wait_for_it_and_no_others() -> None:
    runner = Recorder(slots=2, bad=("b",))
    failed, told = carried_out(runner)
    assert failed == {"b": "no memory", "c": "not begun: it starts from run b"}
    assert sorted(runner.given) == ["a", "b", "d", "e"]
    assert sorted(told, key=lambda each: each[0]) == [(j.id, failed.get(j.id)) for j in JOBS]


def test_a_runner_that_loses_a_job_is_a_failure_of_that_job() -> None:
    failed, _ = carried_out(Recorder(slots=2, lost=("e",)))
    assert failed == {"e": "RuntimeError: the worker is gone"}
