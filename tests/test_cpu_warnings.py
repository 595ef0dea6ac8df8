"""The warnings of `dasc fit` about the CPU: other processes on its cores, and bfloat16."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from dasc import machine
from dasc.machine import OtherProcesses, bfloat16_warning, busy_warning
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
    ("busy", "available", "threads", "processes", "option"),
    [
        (1.0, 2, 2, 1, "OMP_NUM_THREADS=1"),
        (2.1, 2, 2, 1, "OMP_NUM_THREADS=1"),
        (5.2, 8, 8, 1, "OMP_NUM_THREADS=3"),
        (4.0, 8, 4, 2, "OMP_NUM_THREADS=2"),
        (0.3, 2, 2, 1, None),
        (2.0, 2, 1, 1, None),  # there is nothing to set
        (2.0, 2, 1, 2, None),
        (4.0, 8, 4, 1, None),
    ],
)
def test_the_warning_names_the_threads_that_have_a_core(
    busy: float, available: int, threads: int, processes: int, option: str | None
) -> None:
    said = busy_warning(busy, available, threads, processes)
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


@pytest.mark.parametrize(
    ("precision", "capability", "architecture", "is_slow"),
    [
        ("bf16-mixed", "AVX2", "x86_64", True),
        ("bf16-true", "DEFAULT", "AMD64", True),
        ("bf16-mixed", "AVX512", "x86_64", False),
        ("bf16-mixed", "AVX512_BF16", "x86_64", False),
        ("bf16-mixed", "SVE256", "aarch64", False),
        ("32-true", "AVX2", "x86_64", False),
    ],
)
def test_bfloat16_without_its_instructions_is_warned_of(
    precision: str, capability: str, architecture: str, is_slow: bool
) -> None:
    said = bfloat16_warning(precision, capability, architecture)
    assert (said is not None) == is_slow
    assert said is None or "set --trainer.precision 32-true" in said


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX2", reason="the CPU has instructions for bfloat16")
def test_a_training_in_bfloat16_says_that_it_is_slow(tiny: Path) -> None:
    words = ["--stages=[{epochs: 1}]", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]
    said = {name: dasc("fit", "--config", tiny, *words, "--trainer.precision", name) for name in ("bf16-mixed", "32")}
    assert [done.returncode for done in said.values()] == [0, 0]
    assert "dasc fit: warning: this CPU has no AVX-512" in said["bf16-mixed"].stderr
    assert "AVX-512" not in said["32"].stderr
