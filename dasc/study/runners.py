"""Where the jobs of a study are carried out: in processes of this machine."""

import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import forkserver
from queue import SimpleQueue
from typing import Protocol

import torch

from dasc.machine import cores
from dasc.study.work import WorkOrder, context, outcome, work


class Runner(Protocol):
    """Carries out orders."""

    @property
    def slots(self) -> int | None:
        """How many orders are taken at a time; None: any number."""

    def submit(self, order: WorkOrder) -> "Future[str | None]":
        """Take an order; its result is what went wrong, None where nothing did."""

    def stop(self) -> None:
        """Stop what is being carried out, at once: what was trained up to its last epoch is kept."""


class LocalRunner:
    """Carries out orders in processes of this machine, which share its cores, and its GPUs where several are asked for.

    Args:
        jobs: Processes at a time.
        threads: Threads of each; None: OMP_NUM_THREADS, or its share of the cores.
    """

    def __init__(self, jobs: int, threads: int | None = None) -> None:
        self.slots = jobs
        self.threads = threads or threads_of(jobs)
        self._pool = ThreadPoolExecutor(jobs)
        self._context = context()
        _start_fork_server()
        self._running: set[object] = set()
        self._stopped = False
        self._lock = threading.Lock()
        self._devices: SimpleQueue[str | None] = SimpleQueue()
        gpus = visible_gpus()
        for slot in range(jobs):
            self._devices.put(gpus[slot % len(gpus)] if gpus and jobs > 1 else None)

    def submit(self, order: WorkOrder) -> "Future[str | None]":
        """Take an order; its result is what went wrong, None where nothing did."""
        return self._pool.submit(self._carry_out, order)

    def stop(self) -> None:
        """Stop what is being carried out, at once: what was trained up to its last epoch is kept."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()  # type: ignore[attr-defined]
        self._pool.shutdown(cancel_futures=True)

    def _carry_out(self, order: WorkOrder) -> str | None:
        device = self._devices.get()
        try:
            process = self._context.Process(  # type: ignore[attr-defined]
                target=work, args=(replace(order, threads=self.threads, devices=device),)
            )
            with self._lock:
                if self._stopped:
                    return "stopped"
                process.start()
                self._running.add(process)
            process.join()
            with self._lock:
                self._running.discard(process)
            return outcome(order, process.exitcode)
        finally:
            self._devices.put(device)


def _start_fork_server() -> None:
    """Start the process that workers are copied from with Ctrl-C ignored: it imports for seconds, and so do they.

    Ctrl-C in a terminal reaches all processes; the one that started them stops them.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def threads_of(jobs: int) -> int:
    """Return the threads of each of so many processes: OMP_NUM_THREADS, or a share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else max(1, cores() // jobs)


def visible_gpus() -> list[str]:
    """Return the GPUs that processes may be given, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]
