"""Tasks of a Ray cluster, which train the runs of a study."""

import argparse
import os
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from dasc.errors import UserError
from dasc.machine import cores
from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.execution.work import carry_out_run
from dasc.study.plan import Run

RETRIES = 3
"""How often a run is given to another worker if its worker is lost."""

_SECONDS = 5
_START = "start it by `ray start --head` and give the address that it prints, or leave --address out"


class RayRunner(Runner):
    """Carries out runs as tasks of Ray, which places them where CPUs and GPUs are free.

    All machines of the cluster need dasc, and the study's folder and data under the same paths.
    """

    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "--address": {"help": "ray: HOST:PORT of a cluster, or auto (none: Ray on this machine)"}
    }

    def __init__(
        self, address: str | None, results: Path, threads: int = 1, gpus: float = 0.0, jobs: int | None = None
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--runner ray needs Ray: pip install 'dasc[ray]'") from None
        self.slots = jobs
        self._ray: Any = ray  # parts of it are not annotated
        self._results, self._threads = results, threads
        self._connect(address or os.environ.get("RAY_ADDRESS"))
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(has.get("CPU", 0) >= threads and has.get("GPU", 0) >= gpus for has in machines):
            most = ", ".join(f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs" for has in machines)
            raise UserError(  # Ray would wait for such a machine without an end
                f"no machine of the cluster has {threads} CPUs and {gpus:g} GPUs (they have {most}): ask for less"
            )
        self._task: Any = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)(_carry_out)

    @classmethod
    def make(cls, given: argparse.Namespace, work: Work) -> Self:
        """Make the runner from options."""
        return cls(given.address, work.results, work.threads, given.gpus or 0.0, given.jobs)

    def submit(self, run: Run) -> "Future[str | None]":
        """Give a run to Ray."""
        task = self._task.remote(replace(run, config={}, stages=()), self._results, self._threads, os.getcwd())
        future: Future[str | None] = task.future()
        return future

    def stop(self) -> None:
        """Leave the cluster, which ends the tasks."""
        self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            self._ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)
            return
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if address != "auto" and not (host and port.isdigit()):
            raise UserError(f"--address {address} is no address: write HOST:PORT, ray://HOST:PORT or auto")
        try:
            if address != "auto":
                socket.create_connection((host, int(port)), timeout=_SECONDS).close()  # Ray would try for minutes
            self._ray.init(address=address, **quiet)
        except Exception as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UserError(f"no Ray answers at {address} ({reason}): {_START}") from None


def _carry_out(run: Run, results: Path, threads: int, folder: str) -> str | None:
    """Carry out a run on a worker, in the folder that the study was started in."""
    if not Path(folder).is_dir():
        return f"{socket.gethostname()} has no folder {folder}: all machines need the study's folder under this path"
    os.chdir(folder)
    return carry_out_run(run, results, threads)
