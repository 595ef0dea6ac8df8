"""A folder of new files that appears as a whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dasc.errors import UserError


def check_new(folder: Path, names: Iterable[str], overwrite: bool, earlier: str = "export") -> None:
    """Check that files can be written into a folder.

    Args:
        folder: The folder; it need not exist.
        names: Names of the files.
        overwrite: Whether files of these names are replaced.
        earlier: The work that may have written such files before, for the error.

    Raises:
        UserError: A file exists, or the folder cannot be written to.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"--output must be a folder, got {folder}, which is a file: give another --output")
    existing = [name for name in names if os.path.lexists(folder / name)]
    if existing and not overwrite:
        raise UserError(
            f"--output must be a folder without {existing[0]}, got {folder}, which has it: give another --output, or "
            f"add --overwrite to replace the files of an earlier {earlier}"
        )
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".dasc-", dir=above):
            pass
    except OSError as error:
        raise UserError(_unwritable(folder, error)) from None


@contextmanager
def staged(folder: Path, names: Iterable[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder for new files; they are moved into `folder` at the end, and removed after an error.

    Args:
        folder: The folder; it is made if it is missing, unless there are no new files.
        names: Names of files of it that the new files replace; those without a new file are removed.

    Raises:
        UserError: The files cannot be written.
    """
    made: list[Path] = []
    staging: Path | None = None
    try:
        made = [] if folder.is_dir() else _make(folder.parent)
        above = folder if folder.is_dir() else folder.parent  # that of a folder may be read-only, or another disk
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=above))
        yield staging
        _move(staging, folder, names)
    except OSError as error:
        if staging is not None and not _is_about(error, staging, folder):
            raise  # such as an image that cannot be read
        raise UserError(_unwritable(folder, error)) from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for empty in reversed(made):
            with suppress(OSError):
                empty.rmdir()


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"--output must be a folder with space that can be written to, got {folder} ({error.strerror or error}): "
        "give another --output, or free some space"
    )


def _is_about(error: OSError, *folders: Path) -> bool:
    """Return whether an error is about space, or about a file in one of the folders."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes | os.PathLike) else None
    return path is not None and any(path.is_relative_to(folder) for folder in folders)


def _move(staging: Path, folder: Path, names: Iterable[str]) -> None:
    """Move the files of a folder into another one."""
    new = sorted(staging.iterdir())
    if not new:
        return
    for path in new:
        _flush(path)
    folder.mkdir(exist_ok=True)
    for path in new:
        path.replace(folder / path.name)
    for name in set(names) - {path.name for path in new}:
        (folder / name).unlink(missing_ok=True)


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it, and return the ones that were missing."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
