"""Where the jobs of a study are carried out: on the CPUs and GPUs of a Ray cluster."""

import os
import socket
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from dasc.errors import UserError
from dasc.machine import cores
from dasc.study.work import WorkOrder, carry_out_order

RETRIES = 3
"""How often an order is given out again whose worker was lost."""

_SECONDS = 5


class RayRunner:
    """Carries out orders as tasks of Ray, which places them where CPUs and GPUs are free.

    All machines of the cluster need dasc, and the study's folder and data under the same paths.

    Args:
        address: Of the cluster, `HOST:PORT`, `ray://HOST:PORT` or `auto`; None: RAY_ADDRESS, or Ray on this machine.
        cpus: CPUs of each task, and its threads.
        gpus: GPUs of each task; fractions share one.

    Raises:
        UserError: Ray is not installed, does not answer, or has nowhere so many CPUs and GPUs.
    """

    slots = None

    def __init__(self, address: str | None, cpus: int = 1, gpus: float = 0.0) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--runner ray needs Ray: pip install 'dasc[ray]'") from None
        self._ray: Any = ray  # parts of it are not annotated
        self._threads = cpus
        self._connect(address or os.environ.get("RAY_ADDRESS"))
        self._check(cpus, gpus)
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_carry_out)

    def submit(self, order: WorkOrder) -> "Future[str | None]":
        """Take an order; its result is what went wrong, None where nothing did."""
        future: Future[str | None] = self._task.remote(replace(order, threads=self._threads), os.getcwd()).future()
        return future

    def stop(self) -> None:
        """Stop what is being carried out, at once: what was trained up to its last epoch is kept."""
        self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            self._ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)
            return
        if address != "auto":
            _check_answers(address)
        try:
            self._ray.init(address=address, **quiet)
        except Exception as error:
            raise UserError(f"no Ray answers at {address} ({type(error).__name__}): {_START}") from None

    def _check(self, cpus: int, gpus: float) -> None:
        """Check that one machine has what a task asks for: Ray would wait for such a machine for ever."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus for has in machines):
            most = ", ".join(f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs" for has in machines)
            raise UserError(
                f"no machine of the cluster has {cpus} CPUs and {gpus:g} GPUs (they have {most}): ask for less"
            )


_START = "start it by `ray start --head` and give the address that it prints, or leave --address out"


def _check_answers(address: str) -> None:
    """Connect once, for Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--address {address} is no address: write HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray answers at {address} ({error.strerror or error}): {_START}") from None


def _carry_out(order: WorkOrder, folder: str) -> str | None:
    """Carry out an order on a worker, in the folder that the study was started in."""
    if not Path(folder).is_dir():
        return (
            f"{socket.gethostname()} has no folder {folder}: all machines need the study's folder under the same path"
        )
    os.chdir(folder)
    return carry_out_order(order)
