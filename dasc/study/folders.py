"""The folder of a study: where its runs, their states and its results lie."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dasc.callbacks.files import write_text
from dasc.errors import UserError
from dasc.runs import LOGS

RUNS = "runs"
CONFIG = "config.yaml"
RESULT = "result.json"
ERROR = "error.txt"
LOG = "log.txt"
LOCK = "lock"
PLAN = "plan.json"

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def study_folder(name: str) -> Path:
    """Return the folder of a study that is given no other."""
    return Path(LOGS) / "studies" / name


def run_folder(results: Path, run: str) -> Path:
    """Return the folder of a run, which its content names."""
    return results / RUNS / run


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return a checkpoint of the run in a folder; there is one version: what crashed before its first is removed."""
    return folder / LOGS / "version_0" / "checkpoints" / f"{name}.ckpt"


def is_finished(results: Path, run: str) -> bool:
    """Whether a run, or the training of stages that runs share, has its result."""
    return (run_folder(results, run) / RESULT).is_file()


def read_json(path: Path) -> Any:
    """Return what a file holds; None where there is no file."""
    return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, content: Any) -> None:
    """Write a file whole."""
    write_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file while a block runs; the system lets go of it when the process ends, however it ends.

    Args:
        path: The file, made where it is missing.
        wait: Whether to wait for another process that holds it; else the block is told False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _lock(file, wait):
            yield False
            return
        yield True  # closing the file unlocks it


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    if not path.is_file():
        return False
    with path.open("a") as file:
        return not _lock(file, wait=False)


def _lock(file: IO[str], wait: bool) -> bool:
    if fcntl is None:
        raise UserError("dasc study needs file locks, which this system has not: run it on Linux or macOS")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
