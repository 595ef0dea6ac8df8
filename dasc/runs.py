"""Run folders: lightning_logs/version_N with the files of one run and its checkpoints/."""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dasc import checkpoint
from dasc.errors import UserError

LOGS = "lightning_logs"
CHECKPOINTS = "checkpoints"

Progress = tuple[int, int]
"""How far a checkpoint is: completed epochs, optimizer steps."""

_OWN_NAMES = re.compile(r"new|last|best|stage-\d+(-best)?")


def is_own_name(name: str) -> bool:
    """Return whether dasc itself saves a checkpoint of this name (without .ckpt) in checkpoints/."""
    return _OWN_NAMES.fullmatch(name) is not None


def run_folders(root: Path) -> list[Path]:
    """Return the run folders under `root`, the newest first."""
    folders = [path for path in (root / LOGS).glob("version_*") if path.name.removeprefix("version_").isdigit()]
    return sorted(folders, key=lambda path: int(path.name.removeprefix("version_")), reverse=True)


def folder_of(checkpoint: Path) -> Path | None:
    """Return the run folder of a checkpoint in its checkpoints/; None for one elsewhere."""
    folder = Path(os.path.abspath(checkpoint)).parent
    return checkpoint.parent.parent if folder.name == CHECKPOINTS and folder.parent.parent.name == LOGS else None


def check_writable(root: Path) -> None:
    """Check that folders can be made in a folder, which may be missing itself; nothing is left there.

    Raises:
        UserError: They cannot.
    """
    existing = next(path for path in (root / LOGS, *(root / LOGS).absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".dasc-", dir=existing):
            pass
    except OSError as error:
        raise UserError(
            f"trainer.default_root_dir must be a folder that can be written to, got {root} ({existing}: "
            f"{error.strerror}): give another one"
        ) from error


def reserve(root: Path, parents: Iterable[Path] = ()) -> list[Path]:
    """Make the folder of a new run, and folders of the same name for its loggers.

    Runs that start at the same moment get different folders.

    Args:
        root: The run folder is lightning_logs/version_N in it.
        parents: Where else version_N is made. N is the first number that is free in all of these folders.

    Returns:
        The run folder, then those of the loggers.

    Raises:
        UserError: A folder cannot be made.
    """
    places: dict[str, Path] = {}
    for parent in (root / LOGS, *parents):
        places.setdefault(os.path.realpath(parent), parent)
    existing = run_folders(root)
    number = int(existing[0].name.removeprefix("version_")) + 1 if existing else 0
    while not (made := _make([parent / f"version_{number}" for parent in places.values()])):
        number += 1
    return made


def _make(folders: Sequence[Path]) -> list[Path]:
    """Make all folders, or none (an empty list) where one of them exists."""
    made: list[Path] = []
    for folder in folders:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            for other in made:
                other.rmdir()
            if error.filename == str(folder) and isinstance(error, FileExistsError | FileNotFoundError):
                return []  # taken, or its parent was removed by a run that failed at this moment
            raise UserError(f"the folder {folder} of the run cannot be made: {error.strerror}") from error
        made.append(folder)
    return made


def release(folders: Iterable[Path]) -> None:
    """Remove reserved folders that have no file, or only the event file that TensorBoardLogger starts with."""
    for folder in folders:
        files = list(folder.iterdir()) if folder.is_dir() else []
        if not all(path.name.startswith("events.out.tfevents.") for path in files):
            continue
        for path in files:
            path.unlink()
        with suppress(OSError):  # another run may be using the parent
            folder.rmdir()
            folder.parent.rmdir()


def newest_to_continue(root: Path, current: dict[str, Any]) -> tuple[Path | None, str]:
    """Return the furthest checkpoint of the newest run under `root` that `current` may continue; None without one.

    The second value is a remark. With a checkpoint, it says that last.ckpt is damaged and which file is used instead.
    Without one, it is the reason why the newest run of all cannot be continued. Otherwise it is empty.
    """
    reason = ""
    for folder in run_folders(root):
        path, why = _furthest(folder / CHECKPOINTS, current)
        if path is not None:
            return path, why
        reason = reason or (f"{folder.name}: {why}" if why else "")
    return None, reason


def _furthest(folder: Path, current: dict[str, Any]) -> tuple[Path | None, str]:
    """Return the checkpoint in `folder` with the most progress that `current` may continue, and a remark.

    If last.ckpt is damaged, the candidates are all other checkpoints in `folder`.
    """
    last = folder / "last.ckpt"
    path, reason, is_damaged = _furthest_of(_candidates(folder), current)
    if not is_damaged:
        return path, "" if path else reason
    path, _, _ = _furthest_of(_all_but_last(folder), current)
    return path, reason if path is None else f"{last} is damaged: {path} is used instead"


def _furthest_of(paths: Iterable[Path], current: dict[str, Any]) -> tuple[Path | None, str, bool]:
    """Return the furthest of `paths` or None, the first reason against one, and whether a last.ckpt is damaged."""
    found: list[tuple[Progress, Path]] = []
    reason, is_damaged = "", False
    for path in paths:
        try:
            read = checkpoint.read(path, mmap=True)
            checkpoint.check_complete(read, path)
            checkpoint.check_continues(read["dasc"], current)
        except UserError as error:
            reason = reason or str(error)
            is_damaged |= path.stem == "last" and isinstance(error, checkpoint.DamagedError)
        else:
            found.append((_progress(read), path))
    return max(found, key=lambda one: one[0])[1] if found else None, reason, is_damaged


def _candidates(folder: Path) -> list[Path]:
    """Return last.ckpt, then the files of other callbacks, such as ModelCheckpoint, that are not older than it."""
    last = folder / "last.ckpt"
    exists = last.is_file()
    oldest = last.stat().st_mtime_ns if exists else 0
    others = [path for path in sorted(folder.glob("[!.]*.ckpt")) if path.is_file() and not is_own_name(path.stem)]
    return [last] * exists + [path for path in others if path.stat().st_mtime_ns >= oldest]


def _all_but_last(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder` without last.ckpt, those of other callbacks at the end."""
    paths = [path for path in sorted(folder.glob("[!.]*.ckpt")) if path.is_file() and path.stem != "last"]
    return sorted(paths, key=lambda path: not is_own_name(path.stem))


def progress(path: Path) -> Progress:
    """Return how far a checkpoint is.

    Raises:
        UserError: The file cannot be read.
    """
    return _progress(checkpoint.read(path, mmap=True))


def _progress(read: dict[str, Any]) -> Progress:
    return int(read["dasc"]["epochs_done"]), int(read.get("global_step", 0))


def newest_with(root: Path, name: str, difference: Callable[[dict[str, Any]], str]) -> tuple[Path, dict[str, Any], str]:
    """Return a checkpoint of the newest run under `root` that fits, its data under `dasc`, and a remark or ''.

    If its last.ckpt is damaged, the checkpoint of that run with the most progress is used instead.

    Args:
        root: The folder that contains lightning_logs/.
        name: `best` or `last`.
        difference: Returns why a run does not fit, given the data of a checkpoint under `dasc`; empty if it fits.

    Raises:
        UserError: No run fits, and why the newest with such a checkpoint does not.
    """
    skipped = ""
    for folder in run_folders(root):
        path, remark = folder / CHECKPOINTS / f"{name}.ckpt", ""
        if not path.is_file():
            continue
        try:
            recorded = checkpoint.read(path, mmap=True)["dasc"]
        except checkpoint.DamagedError:
            other = _furthest_readable(path.parent) if name == "last" else None
            if other is None:
                raise
            path, recorded, remark = *other, f"{path} is damaged: {other[0]} is used instead"
        reason = difference(recorded)
        if not reason:
            return path, recorded, remark or (f"{skipped}: {path} is used instead" if skipped else "")
        skipped = skipped or f"{folder.name} does not fit, {reason}"
    raise UserError(
        f"no run under {root / LOGS} has a checkpoint '{name}' of this network and these data"
        f"{f' ({skipped})' if skipped else ''}: run `dasc fit` first, or give a path"
    )


def _furthest_readable(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint in `folder` other than last.ckpt with the most progress, and its data under `dasc`."""
    found = []
    for path in _all_but_last(folder):
        with suppress(UserError):
            read = checkpoint.read(path, mmap=True)
            found.append((_progress(read), path, read["dasc"]))
    return max(found, key=lambda one: one[0])[1:] if found else None


def folder_to_continue(path: Path, root: Path) -> Path | None:
    """Return the run folder in which a run resumed from the checkpoint `path` writes; None stands for a new folder.

    It is the folder of the checkpoint for a last.ckpt, and for another file if that run is under `root` and its
    last.ckpt is not further than the file: a resumed run does not replace later epochs.
    """
    path = path.absolute()
    folder = path.parent.parent
    if path.parent.name != CHECKPOINTS or folder.parent.name != LOGS:
        return None
    if path.name == "last.ckpt":
        return folder
    if os.path.realpath(folder.parent) != os.path.realpath(root / LOGS):
        return None  # such as the run whose last stage a job of a study starts from
    last = folder / CHECKPOINTS / "last.ckpt"
    try:
        behind = last.is_file() and progress(path) < progress(last)
    except UserError:  # an unreadable last.ckpt may be further
        return None
    return None if behind else folder


def find_in(folder: Path, *names: str) -> Path | None:
    """Return the checkpoint with the first of these names that the run in a folder has, or the newest run under it.

    Args:
        folder: A run folder, its checkpoints/, or a folder with runs.
        names: Names of checkpoints, such as `best` and `last`.
    """
    root = folder.parent if folder.name == LOGS else folder
    for checkpoints in (folder / CHECKPOINTS, folder, *(run / CHECKPOINTS for run in run_folders(root))):
        for name in names:
            if (checkpoints / f"{name}.ckpt").is_file():
                return checkpoints / f"{name}.ckpt"
    return None


def checkpoint_in(path: str | Path, name: str = "best") -> Path:
    """Return a checkpoint: `path` itself, or what `find_in` finds if it is a folder.

    Args:
        path: A file, or a folder as for `find_in`.
        name: Name of the checkpoint in a folder, `best` or `last`.

    Raises:
        UserError: The folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    found = find_in(path, name)
    if found is None:
        raise UserError(
            f"no run in {path} has a checkpoint '{name}': train one there first, or give the path of a checkpoint"
        )
    return found
