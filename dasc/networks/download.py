"""Downloads of torchvision's weights into the cache of `torch.hub`."""

import hashlib
import http.client
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from torch import hub

from dasc.errors import UserError, one_line


def cached_path(url: str) -> Path:
    """Return where `torch.hub` keeps the file of a URL, whether it is there or not."""
    return Path(hub.get_dir()) / "checkpoints" / file_name(url)


def file_name(url: str) -> str:
    """Return the name of the file of a URL."""
    return url.rpartition("/")[2]


def download(url: str, option: str, remedy: str) -> Path:
    """Return the cached file of a URL, and download it if it is missing; of several processes, one downloads it.

    Args:
        url: A URL whose file name holds the start of the file's SHA-256, as torchvision's do.
        option: Option that names the weights, for errors.
        remedy: What a user without a connection can do, for errors.

    Raises:
        UserError: The download fails, or the file in the cache is damaged.
    """
    path = cached_path(url)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(path):
                if not path.is_file():
                    hub.download_url_to_file(url, str(path), _digest_in(path.name), progress=sys.stderr.isatty())
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            reason = one_line(getattr(error, "reason", None) or error)
            raise UserError(f"{option} must be downloaded from {url}, which failed ({reason}): {remedy}") from None
    elif not _sha256(path).startswith(_digest_in(path.name)):
        raise UserError(f"{path} is damaged: its SHA-256 is not that of {url}; remove it to download it again")
    return path


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock that the processes of this machine share, where the file system has locks."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # another process waits for it
            Path(lock.lock_file).unlink()


def _digest_in(name: str) -> str:
    found = re.search(r"-([0-9a-f]{8,})\.", name)
    return found[1] if found else ""


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
