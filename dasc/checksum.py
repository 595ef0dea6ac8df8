"""Checksums of checkpoint files.

The checksum is the comment of the zip archive that `torch.save` writes, so `torch.load` reads the file as before: a
fixed text, then the SHA-256 of all bytes of the file before the digest, in hexadecimal.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

NAME = "sha256"
"""Recorded under `dasc.checksum` of a checkpoint whose file has a checksum."""

MARKER = b"dasc-sha256:"
_DIGEST_BYTES = 64
_COMMENT_BYTES = len(MARKER) + _DIGEST_BYTES
_END_BYTES = 22
"""Size of the zip end-of-central-directory record without a comment; its last two bytes are the comment's length."""

_CHUNK = 1 << 20


class _HashingWriter:
    """Writes to a file and hashes what it writes, except the last bytes, which it keeps until more are written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.tail = b""

    def write(self, data: bytes) -> int:
        """Write data, and keep the last bytes of all that was written."""
        view = memoryview(data).cast("B")
        if len(view) < _END_BYTES:
            view = memoryview(self.tail + bytes(view))
        else:
            self._emit(self.tail)
        cut = max(len(view) - _END_BYTES, 0)
        self._emit(view[:cut])
        self.tail = bytes(view[cut:])
        return len(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def finish(self, tail: bytes) -> None:
        """Write the last bytes, then the digest of all bytes."""
        self._emit(tail)
        self._file.write(self._hash.hexdigest().encode())

    def _emit(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._file.write(data)


def write_with_checksum(file: IO[bytes], write: Callable[[IO[bytes]], object]) -> None:
    """Write a zip archive without a comment, and its checksum as the comment.

    Args:
        file: The file that is written, empty.
        write: Writes the archive to the object that it is given; it calls `write` and `flush` only.

    Raises:
        ValueError: What was written does not end like a zip archive without a comment.
    """
    writer = _HashingWriter(file)
    write(cast(IO[bytes], writer))
    if not (writer.tail.startswith(b"PK\x05\x06") and writer.tail.endswith(b"\0\0")):
        raise ValueError("a checkpoint must be a zip archive without a comment to get a checksum")
    writer.finish(writer.tail[:-2] + _COMMENT_BYTES.to_bytes(2, "little") + MARKER)


def has_valid_checksum(path: Path) -> bool | None:
    """Return whether the checksum of a file matches its content; None if the file has no checksum."""
    with path.open("rb") as file:
        hashed = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
        if hashed < len(MARKER):
            return None
        file.seek(hashed - len(MARKER))
        if file.read(len(MARKER)) != MARKER:
            return None
        recorded = file.read(_DIGEST_BYTES)
        digest, left = hashlib.sha256(), hashed
        file.seek(0)
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        return digest.hexdigest().encode() == recorded
