"""Processes of this machine, which train the runs of a study."""

import argparse
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import torch

from dasc.errors import UserError
from dasc.machine import available_memory, cores
from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.execution.work import carry_out_run, peak_memory
from dasc.study.folders import LOG, RESULT, read_error, read_json, read_result, run_folder
from dasc.study.plan import Run


class LocalRunner(Runner):
    """Carries out runs in processes of this machine, which share its GPUs where several run at a time."""

    def __init__(self, jobs: int, results: Path, threads: int = 1) -> None:
        self.slots = jobs
        self._results, self._threads = results, threads
        self._pool, self._context = ThreadPoolExecutor(jobs), _start_context()
        self._running: set[Any] = set()
        self._stopped = False
        self._lock = threading.Lock()
        self._devices: SimpleQueue[str | None] = SimpleQueue()
        gpus = visible_gpus()
        for slot in range(jobs):
            self._devices.put(gpus[slot % len(gpus)] if gpus and jobs > 1 else None)

    @classmethod
    def check(cls, given: argparse.Namespace) -> None:
        """Check options."""
        if given.gpus is not None:
            raise UserError("--gpus must be used with a cluster, got --runner local: --jobs trainings share all GPUs")

    @classmethod
    def make(cls, given: argparse.Namespace, work: Work) -> Self:
        """Make the runner from options."""
        return cls(given.jobs or default_jobs(work), work.results, work.threads)

    def submit(self, run: Run) -> "Future[str | None]":
        """Start a process for a run as soon as there is a place for it."""
        return self._pool.submit(self._carry_out, replace(run, config={}, stages=()))

    def stop(self) -> None:
        """Kill the processes."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()
        self._pool.shutdown(cancel_futures=True)

    def _carry_out(self, run: Run) -> str | None:
        devices = self._devices.get()
        process = self._context.Process(target=_work, args=(run, self._results, self._threads, devices))
        try:
            with self._lock:
                if self._stopped:
                    return "stopped"
                process.start()
                self._running.add(process)
            process.join()
            with self._lock:
                self._running.discard(process)
            return outcome(run, self._results, process.exitcode)
        finally:
            self._devices.put(devices)


def outcome(run: Run, results: Path, exitcode: int | None) -> str | None:
    """Return the error of a process that carried out a run; None if the run is finished."""
    if read_result(results, run.id) is not None:
        return None
    how = f"by signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"with status {exitcode}"
    memory = " (often too little memory)" if exitcode == -signal.SIGKILL else ""
    ended = f"its process ended {how}{memory}: see {run_folder(results, run.id) / LOG}"
    return read_error(results, run.id) or ended


def default_threads(runs: Sequence[Run]) -> int:
    """Return the CPU threads of each training: 1 on a CPU, where threads of several trainings wait for each other."""
    return max(1, cores() // len(visible_gpus())) if _use_gpus(runs) else 1


def default_jobs(work: Work) -> int:
    """Return the number of trainings at a time that this machine has the GPUs, or the cores and the memory, for.

    The memory of one is the largest peak of the finished ones, or else what this process has had, which has made the
    modules and read the data.
    """
    devices = [run.config["trainer"].get("devices") for run in work.runs]
    processes = max((int(count) for count in devices if str(count).isdigit()), default=1)
    if _use_gpus(work.runs):
        return len(visible_gpus()) if processes == 1 else 1
    peaks = [read_json(path)["timing"].get("peak_memory") for path in work.results.glob(f"runs/*/{RESULT}")]
    peak, memory = max((peak for peak in peaks if peak), default=peak_memory()), available_memory()
    limits = [cores() // (work.threads * processes), len(work.runs)]
    if peak and memory:
        limits.append(memory // (peak * 1_000_000 * processes))
    return max(1, min(limits))


def visible_gpus() -> list[str]:
    """Return the GPUs that processes may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = map(str, range(torch.cuda.device_count())) if given is None else given.split(",")
    named = itertools.takewhile(lambda name: name not in ("-1", "NoDevFiles"), map(str.strip, found))
    return [name for name in named if name]


def _use_gpus(runs: Sequence[Run]) -> bool:
    return bool(visible_gpus()) and any(run.config["trainer"].get("accelerator") != "cpu" for run in runs)


def _work(run: Run, results: Path, threads: int, devices: str | None) -> None:
    """Carry out a run in this process, which was started for it; the exit status is 1 if it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    sys.exit(carry_out_run(run, results, threads) is not None)


def _start_context() -> Any:
    """Return how processes are started: on Linux as copies of one that has imported all modules.

    That process ignores Ctrl-C, which reaches all processes of a terminal: the one that started them stops them.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        forkserver.ensure_running()
        signal.signal(signal.SIGINT, before)
    return context
