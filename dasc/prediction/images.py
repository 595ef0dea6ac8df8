"""Image files of a user, and their decoding in threads."""

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from dasc.data.folder import UNSUPPORTED
from dasc.errors import UserError

__all__ = ("IMG_EXTENSIONS", "FoundImages", "decode_in_threads", "find_images")


class FoundImages(NamedTuple):
    """Image files by their type."""

    paths: list[str]
    """Files of a supported type."""
    unsupported: list[str]
    """Image files in folders, and given files, of another type."""


def find_images(given: Sequence[str]) -> FoundImages:
    """Return image files in the order of `given`; those of a folder and its subfolders are sorted by path.

    Hidden files and folders (with a leading dot) in a folder are left out, and so are files of it that are no images.

    Args:
        given: Files and folders. A given file without an extension counts as supported.

    Raises:
        UserError: A file or folder does not exist, or a folder cannot be read.
    """
    found = FoundImages([], [])
    for path in map(os.path.expanduser, given):
        if os.path.isdir(path):
            for file in _files_in(path):
                if _extension(file) in IMG_EXTENSIONS:
                    found.paths.append(file)
                elif _extension(file) in UNSUPPORTED:
                    found.unsupported.append(file)
        elif not os.path.exists(path):
            raise UserError(f"--images must be files or folders that exist, got {path}: check the path")
        else:
            is_supported = _extension(path) in ("", *IMG_EXTENSIONS)
            (found.paths if is_supported else found.unsupported).append(path)
    return found


def _files_in(folder: str) -> list[str]:
    """Return the files in a folder and its subfolders, sorted by the parts of their paths."""

    def refuse(error: OSError) -> None:
        raise UserError(f"the folder {error.filename} cannot be read: {error.strerror}") from None

    files: list[str] = []
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [os.path.join(parent, name) for name in names if not name.startswith(".")]
    return sorted(files, key=lambda path: path.split(os.sep))


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def decode_in_threads(
    paths: Sequence[str], decode: Callable[[str], Tensor], threads: int, ahead: int
) -> Generator[tuple[str, Tensor | str], None, None]:
    """Decode files in the order of `paths`; `close` cancels what is not decoded yet.

    Args:
        paths: The files.
        decode: Decodes one file.
        threads: Number of threads, at least 1.
        ahead: Number of images that are decoded before they are used, at least 1; it limits the memory.

    Yields:
        The path of each file, and its image, or, as text, the reason why it cannot be decoded.
    """
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[str, Future[Tensor]]] = deque()
    try:
        for path in paths:
            waiting.append((path, pool.submit(decode, path)))
            if len(waiting) > ahead:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(path: str, future: "Future[Tensor]") -> tuple[str, Tensor | str]:
    try:
        return path, future.result()
    except UserError as error:
        return path, str(error)
    except Exception as error:  # whatever a damaged file makes of Pillow's plugins
        return path, f"{path} cannot be read as an image ({type(error).__name__}): repair or remove it"
