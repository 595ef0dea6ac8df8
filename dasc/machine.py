"""Properties of this machine: how much a process can use, and what measurements depend on."""

import os
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Files of control groups, version 2 and 1, in their folder."""


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of memory that this process can use: available ones, at most the limit of its control group.

    Args:
        meminfo: Linux's file; without it, the physical memory counts.
        cgroup: Folder of the control group; inside a container, this is its own.

    Returns:
        None where the system tells neither.
    """
    found = []
    if meminfo.is_file():
        values = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in values:
            found.append(int(values["MemAvailable"].split()[0]) * 1024)
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in (cgroup / name for name in _LIMITS):
        if path.is_file() and (limit := path.read_text().strip()).isdigit():
            found.append(int(limit))
    return min(found, default=None)


class OtherProcesses:
    """CPU time that other processes use from now on; nothing is known of it where there is no /proc.

    Args:
        proc: Linux's folder of processes.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._start, self._ticks = time.monotonic(), self._read()

    def busy_cores(self) -> float:
        """Return the cores that they have used on average since then."""
        seconds, now = time.monotonic() - self._start, self._read()
        ticks = sum(now[name] - self._ticks[name] for name in now.keys() & self._ticks.keys())
        return ticks / os.sysconf("SC_CLK_TCK") / seconds if ticks else 0.0

    def _read(self) -> dict[str, int]:
        """Return the ticks of each process but this one and those that it started."""
        found, own = {}, str(os.getpid())
        for path in self._proc.glob("[0-9]*/stat"):
            with suppress(OSError, IndexError, ValueError):  # it has ended
                values = path.read_text().rpartition(")")[2].split()
                if own not in (path.parent.name, values[1]):
                    found[path.parent.name] = int(values[11]) + int(values[12])
        return found


def busy_warning(busy: float, available: int, threads: int, processes: int = 1) -> str | None:
    """Return a sentence if the threads of a training have to share cores with other processes; None if not.

    Args:
        busy: Cores that other processes use.
        available: Cores that this process may use.
        threads: Threads of each process of the training; fewer than 2 leave nothing to set.
        processes: Its processes on this machine.
    """
    free = available - busy
    if threads < 2 or free > threads * processes - 0.5:
        return None
    return (
        f"other processes use {busy:.1f} of {available} cores, and threads that share a core wait for each other: set "
        f"OMP_NUM_THREADS={max(1, int(free / processes + 0.5))}, or run one training after the other"
    )


def bfloat16_warning(precision: str, capability: str, architecture: str = platform.machine()) -> str | None:
    """Return a sentence if a CPU has no instructions for the bfloat16 of a precision; None if not.

    Args:
        precision: Lightning's name, such as `bf16-mixed`.
        capability: The instruction set that torch uses, of `torch.backends.cpu.get_cpu_capability()`.
        architecture: The architecture; it is known of x86 only what has no such instructions.
    """
    if not precision.startswith("bf16") or architecture.lower() not in ("x86_64", "amd64") or "AVX512" in capability:
        return None
    return (
        f"this CPU has no AVX-512, so that convolutions in {precision} take several times as long as in float32: set "
        "--trainer.precision 32-true"
    )


@dataclass(frozen=True)
class Machine:
    """A machine on which something was measured.

    Args:
        cpu: Model name of the processor, or its architecture where the system does not tell.
        cores: Cores that the process may use.
        system: Operating system, with its release.
        gpu: Model name of the GPU that was used; empty if none was.
        versions: Versions by package, and that of Python.
    """

    cpu: str
    cores: int
    system: str
    gpu: str
    versions: Mapping[str, str]


def this_machine(packages: Iterable[str], gpu: str = "") -> Machine:
    """Describe this machine.

    Args:
        packages: Packages whose versions are recorded; those that are not installed are left out.
        gpu: Model name of the GPU that is used; empty for none.
    """
    versions = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return Machine(cpu_name(), cores(), f"{platform.system()} {platform.release()}", gpu, versions)


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model name of the processor, or its architecture where the system does not tell.

    Args:
        cpuinfo: Linux's file; it has no model name on ARM.
    """
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == "model name")
    return next(filter(None, names), "") or platform.processor() or platform.machine()
