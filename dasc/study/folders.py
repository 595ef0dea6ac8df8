"""The folder of a study: its files, and locks on them."""

import json
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dasc.callbacks.files import write_text
from dasc.runs import LOGS

CONFIG, RESULT, ERROR, LOG, LOCK, PLAN = "config.yaml", "result.json", "error.txt", "log.txt", "lock", "plan.json"


def run_folder(results: Path, run: str) -> Path:
    """Return the folder of a run by its ID."""
    return results / "runs" / run


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return a checkpoint of the run in a folder, which has one version: those without a checkpoint are removed."""
    return folder / LOGS / "version_0" / "checkpoints" / f"{name}.ckpt"


def read_result(results: Path, run: str) -> Any:
    """Return the result of a run; None if it is not finished."""
    return read_json(run_folder(results, run) / RESULT)


def read_error(results: Path, run: str) -> str | None:
    """Return the error of a run; None if it has none."""
    path = run_folder(results, run) / ERROR
    return path.read_text().strip() if path.is_file() else None


def read_json(path: Path) -> Any:
    """Return the content of a file; None if there is no file."""
    return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, content: Any) -> None:
    """Write a whole file."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def lock(folder: Path) -> FileLock:
    """Return the lock of a folder, which is made; the system releases it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / LOCK)


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a folder."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK).acquire(blocking=False):
            return False
    except Timeout:
        return True
