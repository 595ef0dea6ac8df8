"""Layout of safetensors files: a JSON header, then the tensors; written reproducibly and read strictly.

The package safetensors writes the metadata in a random order, and its functions for raw bytes differ from version to
version.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

HEADER_LIMIT = 4 * 2**20
"""Largest header in bytes that is read."""

PREFIX = 8
"""Bytes before the header: its length, little-endian."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Dtypes of tensors by their names in the header."""

_METADATA = "__metadata__"
_LARGEST_DIMENSION = 2**40
_DIMENSIONS = 16


class DamageError(Exception):
    """What is wrong with the bytes of a file; the caller names the file."""


@dataclass(frozen=True)
class Entry:
    """A tensor in the header.

    Args:
        dtype: A key of `DTYPES`.
        shape: The shape.
        start: First byte in the data.
        end: Byte after the last one.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A parsed header.

    Args:
        entries: The tensors by name.
        metadata: The strings under `__metadata__`.
        data_bytes: Bytes of all tensors.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data_bytes: int


@dataclass(frozen=True)
class RawTensor:
    """A tensor to write.

    Args:
        dtype: A key of `DTYPES`.
        shape: The shape.
        data: Its elements, contiguous.
    """

    dtype: str
    shape: tuple[int, ...]
    data: npt.NDArray[Any]


def item_bytes(dtype: str) -> int:
    """Return the bytes of one element of a dtype of the header."""
    return DTYPES[dtype].itemsize


def write_parts(tensors: Mapping[str, RawTensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Return the bytes of a safetensors file in parts; equal arguments give equal bytes.

    Args:
        tensors: The tensors by name. They are ordered by the bytes of an element, so that each one is aligned.
        metadata: The strings under `__metadata__`.
    """
    names = sorted(tensors, key=lambda name: (-item_bytes(tensors[name].dtype), name))
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].data.nbytes
        header[name] = {
            "dtype": tensors[name].dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(PREFIX, "little") + text
    for name in names:
        yield np.ascontiguousarray(tensors[name].data).reshape(-1).view(np.uint8).data


def header_length(prefix: bytes, file_bytes: int) -> int:
    """Return the length of the header.

    Args:
        prefix: First `PREFIX` bytes of the file.
        file_bytes: Size of the file.

    Raises:
        DamageError: The file is shorter, or the length is over `HEADER_LIMIT`.
    """
    if len(prefix) < PREFIX:
        raise DamageError(f"it has {len(prefix)} bytes")
    length = int.from_bytes(prefix, "little")
    if length > file_bytes - PREFIX:
        raise DamageError(f"its header has {length} bytes, more than the file")
    if length > HEADER_LIMIT:
        raise DamageError(f"its header has {length} bytes, more than {HEADER_LIMIT}")
    return length


def parse_header(text: bytes) -> Header:
    """Parse a header: its tensors must fill the data without gaps and overlaps.

    Raises:
        DamageError: Anything in it is wrong.
    """
    header = parse_json(text, "its header")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DamageError("its metadata are no strings")
    entries = {name: _entry(name, value) for name, value in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise DamageError(f"the tensor {name!r} must start at byte {end}, got {entry.start}")
        end = entry.end
    return Header(entries, metadata, end)


def parse_json(text: bytes | str, what: str) -> dict[str, Any]:
    """Parse a JSON object without duplicate keys.

    Raises:
        DamageError: It is none.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError
        return found

    try:
        value = json.loads(text.decode() if isinstance(text, bytes) else text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise DamageError(f"{what} must be a JSON object without duplicate keys") from None
    if not isinstance(value, dict):
        raise DamageError(f"{what} must be a JSON object")
    return value


def parse_shape(name: str, value: Any) -> tuple[int, ...]:
    """Return a shape of a JSON text as a tuple.

    Raises:
        DamageError: It is no list of sizes.
    """
    if not isinstance(value, list) or len(value) > _DIMENSIONS or not all(map(_is_size, value)):
        raise DamageError(f"the shape of {name!r} must be a list of sizes")
    return tuple(value)


def parse_dtype(name: str, value: Any) -> str:
    """Return a dtype of a JSON text.

    Raises:
        DamageError: It is not in `DTYPES`.
    """
    if not isinstance(value, str) or value not in DTYPES:
        raise DamageError(f"the dtype of {name!r} must be one of {', '.join(DTYPES)}")
    return value


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise DamageError(f"the tensor {name!r} must have dtype, shape and data_offsets")
    dtype, shape = parse_dtype(name, value["dtype"]), parse_shape(name, value["shape"])
    offsets = value["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise DamageError(f"the data_offsets of {name!r} must be two positions")
    expected = math.prod(shape) * item_bytes(dtype)
    if offsets[1] - offsets[0] != expected:
        raise DamageError(f"the tensor {name!r} must have {expected} bytes, got {offsets[1] - offsets[0]}")
    return Entry(dtype, shape, *offsets)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_DIMENSION
