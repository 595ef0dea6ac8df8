"""The format of a file, by its content, and by the end of its name where the content does not tell."""

import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from dasc import checksum
from dasc.errors import UserError
from dasc.export.card import JSON_FILE
from dasc.export.sparse import KEY

SUFFIXES = {
    ".onnx": "onnx",
    ".sparse.safetensors": "sparse",
    ".sparse.safetensors.zst": "sparse",
    ".safetensors": "safetensors",
    ".pt2": "torch_export",
    ".pt": "state_dict",
}
"""Name of the format in `dasc.export.formats.FORMATS` by the end of a file's name, lower case; the first that fits."""

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZIP = b"PK\x03\x04"
_ONNX_TAGS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)
"""First bytes of the fields of an ONNX model after the version of its format, which comes first."""

_OF_PROGRAMS = {"archive_format", "serialized_exported_program.json"}
"""Entries of the archive of a torch.export program; the second is that of torch before 2.8."""

_MAX_HEADER = 100_000_000
"""Bytes of the largest header in a safetensors file; the limit of the package safetensors."""


def identify(path: Path) -> str | None:
    """Return the name of the format of an exported file; None for a checkpoint, and for a file of no known format.

    Args:
        path: The file.

    Raises:
        UserError: The name ends like that of an exported file, and there is no such file, or it cannot be read.
    """
    by_name = next((name for suffix, name in SUFFIXES.items() if path.name.lower().endswith(suffix)), None)
    try:
        return _by_content(path, by_name)
    except FileNotFoundError:
        if by_name is not None:
            raise UserError(f"there is no file {path}: check the path") from None
    except OSError as error:
        if by_name is not None:
            raise UserError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    return None  # the reader of checkpoints says what is wrong


def exported_in(folder: Path) -> list[Path]:
    """Return the exported files in a folder with a model card, sorted; empty without a card."""
    if not (folder / JSON_FILE).is_file():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(tuple(SUFFIXES)) and path.is_file())


def _by_content(path: Path, by_name: str | None) -> str | None:
    with path.open("rb") as file:
        start = file.read(8)
        if start[:4] == _ZSTD:
            return "sparse"
        if start[:4] == _ZIP:
            return _by_entries(path, by_name)
        if start[:1] == b"\x08" and start[2:3] and start[2] in _ONNX_TAGS:
            return "onnx"
        size = int.from_bytes(start, "little")
        if len(start) == 8 and 2 <= size <= _MAX_HEADER:
            header = file.read(size)
            if len(header) == size and header[:1] == b"{":
                return _by_header(header, by_name)
    return by_name


def _by_entries(path: Path, by_name: str | None) -> str | None:
    """Tell apart the zip archives of torch: programs of torch.export, checkpoints and state_dicts."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.comment.startswith(checksum.MARKER):
                return None
            entries = {name.partition("/")[2] for name in archive.namelist()} | set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return by_name
    if entries & _OF_PROGRAMS:
        return "torch_export"
    return _by_pickle(path, by_name) if "data.pkl" in entries else by_name


def _by_pickle(path: Path, by_name: str | None) -> str | None:
    """Tell apart checkpoints and state_dicts; the tensors are left in the file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises errors of many classes
        return by_name
    if not isinstance(content, dict) or "state_dict" in content:
        return None
    return "state_dict" if content and all(isinstance(value, Tensor) for value in content.values()) else by_name


def _by_header(header: bytes, by_name: str | None) -> str | None:
    """Tell apart safetensors files with sparse and with dense tensors."""
    try:
        names = json.loads(header)
    except (ValueError, RecursionError):
        return by_name
    if not isinstance(names, dict):
        return by_name
    metadata = names.get("__metadata__")
    return "sparse" if isinstance(metadata, dict) and KEY in metadata else "safetensors"
