"""The warning of `dasc fit` about other processes on its cores."""

import multiprocessing
import os
from pathlib import Path

import pytest

from dasc import machine
from dasc.machine import OtherProcesses, busy_warning
from tests.support.command import dasc


def write(proc: Path, pid: int, ticks: tuple[int, int], parent: int = 1) -> None:
    (proc / str(pid)).mkdir(parents=True, exist_ok=True)
    before = f"{pid} (a ) name) R {parent} " + "0 " * 9
    (proc / str(pid) / "stat").write_text(f"{before}{ticks[0]} {ticks[1]} 0 0 20\n")


def test_the_cpu_time_of_other_processes_becomes_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = os.sysconf("SC_CLK_TCK")
    clock = iter((10.0, 14.0))
    monkeypatch.setattr("dasc.machine.time.monotonic", lambda: next(clock))
    for pid in (7, 8, 9, os.getpid()):
        write(tmp_path, pid, (5 * second, 0), parent=os.getpid() if pid == 9 else 1)
    others = OtherProcesses(tmp_path)
    write(tmp_path, 7, (8 * second, second))  # 4 s in 4 s
    write(tmp_path, 8, (6 * second, second))  # 2 s in 4 s
    write(tmp_path, 9, (9 * second, 0), parent=os.getpid())  # a process of this one
    write(tmp_path, os.getpid(), (9 * second, 0))
    write(tmp_path, 10, (9 * second, 0))  # it may have begun long before
    (tmp_path / "8" / "other").touch()
    assert others.busy_cores() == 1.5


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert OtherProcesses(tmp_path / "none").busy_cores() == 0


@pytest.mark.parametrize(
    ("busy", "available", "threads", "option"),
    [
        (1.0, 2, 2, "OMP_NUM_THREADS=1"),
        (2.1, 2, 2, "OMP_NUM_THREADS=1"),
        (5.2, 8, 8, "OMP_NUM_THREADS=3"),
        (0.3, 2, 2, None),
        (2.0, 2, 1, None),  # there is nothing to set
        (4.0, 8, 4, None),
    ],
)
def test_the_warning_names_the_threads_that_have_a_core(
    busy: float, available: int, threads: int, option: str | None
) -> None:
    said = busy_warning(busy, available, threads)
    assert (said is None) == (option is None)
    if said is not None:
        assert option is not None
        assert f"set {option}, " in said
        assert f"other processes use {busy:.1f} of {available} cores" in said


def _work() -> None:
    while True:
        pass


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="/proc tells what processes use")
def test_a_training_beside_busy_processes_warns_in_one_line(tiny: Path) -> None:
    busy = [multiprocessing.get_context("spawn").Process(target=_work, daemon=True) for _ in range(machine.cores())]
    for process in busy:
        process.start()
    try:
        words = ["--stages=[{epochs: 1}]", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]
        done = dasc("fit", "--config", tiny, *words, threads=2)
        alone = dasc("fit", "--config", tiny, *words, threads=1)
    finally:
        for process in busy:
            process.kill()
            process.join()
    assert (done.returncode, alone.returncode) == (0, 0), done.stderr + alone.stderr
    (line,) = (line for line in done.stderr.splitlines() if "warning" in line)
    assert line.startswith("dasc fit: warning: other processes use ")
    assert "OMP_NUM_THREADS=" in line
    assert "OMP_NUM_THREADS" not in alone.stderr
