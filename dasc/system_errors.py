"""Errors of the operating system and of libraries whose remedy is known, as one sentence."""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

_NO_SPACE = {errno.ENOSPC: "no space left on the disk", errno.EDQUOT: "the disk quota is used up"}

_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|unable to allocate", re.IGNORECASE)
"""Messages of torch's allocators; torch.OutOfMemoryError is a RuntimeError."""

_AMOUNT = re.compile(r"tried to allocate ([\d.]+ ?[KMGT]?i?B(?:ytes)?|\d+ bytes)", re.IGNORECASE)


def system_error(error: BaseException) -> str | None:
    """Return what an error is and its remedy, in one sentence; None for errors that are not known.

    Known are a full disk, too little memory, a missing package, a failed download, and a monitor that was not logged.
    """
    return next((text for read in _READERS if (text := read(error)) is not None), None)


def package_text(package: str) -> str:
    """Return the rule and the remedy for a package that is not installed."""
    return f"needs the package {package}, which is not installed: run `pip install {package}`"


def _full_disk(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        where = f" at {error.filename}" if error.filename else ""
        return f"{_NO_SPACE[error.errno]}{where}: free some space, or write elsewhere with --trainer.default_root_dir"
    if isinstance(error, RuntimeError) and "PytorchStreamWriter failed writing" in str(error):
        return "a checkpoint cannot be written, often because no space is left on the disk: free some space"
    return None


def _memory(error: BaseException) -> str | None:
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _MEMORY.search(str(error))):
        return None
    device = "the GPU" if re.search(r"cuda|hip", str(error), re.IGNORECASE) else "this machine"
    amount = _AMOUNT.search(str(error))
    tried = f", {amount[1]} more were needed" if amount else ""
    return (
        f"the memory of {device} must hold the network, a batch and the data{tried}: set a smaller --data.batch_size, "
        "--data.eval_batch_size or --data.image_size, or --data.on_device false"
    )


def _missing_package(error: BaseException) -> str | None:
    if not isinstance(error, ImportError):
        return None
    if required := re.search(r"Requirement '([\w.-]+)[^']*' not met", str(error)):
        frame = _last_class(error)
        return f"{f'{frame} ' if frame else 'this config '}{package_text(required[1])}"
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or name == "dasc":
        return None
    return (
        f"there is no module {error.name}: check the class_path, add its folder to PYTHONPATH, or install its package"
    )


def _last_class(error: BaseException) -> str:
    """Return the class whose constructor raised an error; '' outside of one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    inside = trace is not None and trace.tb_frame.f_code.co_name == "__init__"
    return type(trace.tb_frame.f_locals.get("self")).__name__ if trace is not None and inside else ""


def _download(error: BaseException) -> str | None:
    if not isinstance(error, URLError):
        return None
    address = _address(error)
    return (
        f"the download{f' of {address}' if address else ''} failed ({error.reason}): check the internet connection, "
        "or copy the files here and give their path"
    )


def _address(error: BaseException) -> str:
    """Return the address that was being opened, from the frames of the error."""
    trace = error.__traceback__
    while trace is not None:
        given = trace.tb_frame.f_locals.get("url")
        given = getattr(given, "full_url", given)
        if isinstance(given, str) and "://" in given:
            return given
        trace = trace.tb_next
    return ""


def _monitor(error: BaseException) -> str | None:
    found = re.search(
        r"Early stopping conditioned on metric `(.+?)` which is not available.*?following: (.*)", str(error)
    )
    if not isinstance(error, RuntimeError) or found is None:
        return None
    return f"the monitor of EarlyStopping must be one of {found[2].replace('`', '')}, got {found[1]}"


def _file(error: BaseException) -> str | None:
    """Name the file of an error of the operating system, which is not a bug of anything."""
    if isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError) and error.filename:
        return f"{Path(str(error.filename))} cannot be used: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.EROFS and error.filename:
        return f"{error.filename} cannot be written: the file system is read-only"
    return None


_READERS: tuple[Callable[[BaseException], str | None], ...] = (
    *(_full_disk, _memory, _missing_package, _download, _monitor, _file),
)
