from pathlib import Path
from typing import Any

import pytest

from dasc.study import runners
from dasc.study.runners import LocalRunner, threads_of, visible_gpus
from dasc.study.work import Order, outcome


class Done:
    """A process that has done what it was made for, and remembers its order."""

    orders: list[Order] = []  # noqa: RUF012 - emptied by each test
    exitcode = 0

    def __init__(self, target: Any, args: tuple[Order]) -> None:
        self._order = args[0]

    def start(self) -> None:
        self.orders.append(self._order)
        self._order.folder.mkdir()
        (self._order.folder / "result.json").write_text("{}")

    def join(self) -> None: ...


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    monkeypatch.setattr(runners, "context", lambda: type("Context", (), {"Process": Done}))
    Done.orders = []
    return Done.orders


def carry_out(runner: LocalRunner, count: int) -> None:
    for number in range(count):
        assert runner.submit(Order(folder=Path(str(number)), rows=1)).result() is None
    runner.stop()


@pytest.mark.parametrize(
    ("visible", "jobs", "seen"),
    [
        ("0,1", 2, {"0", "1"}),
        ("GPU-a,GPU-b,GPU-c", 2, {"GPU-a", "GPU-b"}),
        ("5", 3, {"5"}),
        ("0,1", 1, {None}),  # alone it may take all
        ("", 2, {None}),
    ],
)
def test_trainings_side_by_side_share_the_gpus(
    visible: str, jobs: int, seen: set[str | None], orders: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    carry_out(LocalRunner(jobs), 6)
    assert {order.devices for order in orders} == seen


def test_the_gpus_are_those_of_the_machine_where_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


def test_trainings_share_the_cores(orders: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runners, "cores", lambda: 8)
    assert [threads_of(jobs) for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    carry_out(LocalRunner(4), 1)
    assert orders[0].threads == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of(2) == 3


def test_what_went_wrong_is_what_the_process_left_or_how_it_ended(tmp_path: Path) -> None:
    order = Order(folder=tmp_path, rows=1)
    assert "ended by signal 9 (often too little memory)" in str(outcome(order, -9))
    assert outcome(order, 3) == f"its process ended with status 3: see {tmp_path / 'log.txt'}"
    (tmp_path / "error.txt").write_text("no data\n")
    assert outcome(order, 1) == "no data"
    (tmp_path / "result.json").write_text("{}")
    assert outcome(order, 0) is None
