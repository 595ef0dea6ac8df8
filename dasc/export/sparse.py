"""Sparse tensors in safetensors files: a bitmask and the values that are not zero.

A tensor NAME is stored as `NAME.bitmask` (uint8; element i, in row-major order, is bit 7 - i % 8 of byte i // 8; unused
bits are 0) and `NAME.values` (1-D, in the same order), or dense under its own name where that is not larger. Negative
zeros count as zeros. The key `sparse` of the metadata has the original dtype and shape of each tensor that is not
stored as it is: `{"version": 1, "tensors": {NAME: {"dtype": "F32", "shape": [16, 3, 3, 3]}}}`.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasc.errors import UserError
from dasc.export.layout import (
    DTYPES,
    DamageError,
    Entry,
    Header,
    RawTensor,
    item_bytes,
    parse_dtype,
    parse_json,
    parse_shape,
)

KEY = "sparse"
"""Key in the metadata of the file."""

_VERSION = 1
_BITMASK, _VALUES = ".bitmask", ".values"
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_HALF = "F16"
_ROUNDED = ("F32", "F64")
"""Dtypes whose values may be stored as float16."""

_ENTRY_BYTES = 180
"""Bytes that a bitmask adds to the header and to the metadata, without the name, which occurs twice more."""

_CHUNK = 2**16
"""Bytes of a bitmask that are processed at once."""

_UNSIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a network in a file.

    Args:
        dtype: Its dtype in the network, a key of `DTYPES`.
        shape: Its shape.
        values: Its elements, or those that are not zero; the dtype is its own, or `F16`.
        bitmask: Which elements are not zero; None for all.
    """

    dtype: str
    shape: tuple[int, ...]
    values: Entry
    bitmask: Entry | None = None

    @property
    def dense_bytes(self) -> int:
        """Bytes of the tensor in the network."""
        return math.prod(self.shape) * item_bytes(self.dtype)


def encode(state: Mapping[str, Tensor], half: Collection[str] = ()) -> tuple[dict[str, RawTensor], str]:
    """Return the tensors to write for a state_dict, and the metadata under `KEY`.

    Args:
        state: The state_dict.
        half: Names of tensors whose values are stored as float16.

    Raises:
        UserError: A dtype is not supported, or a value is over the range of float16.
    """
    tensors: dict[str, RawTensor] = {}
    changed: dict[str, Any] = {}
    for name, tensor in state.items():
        if tensor.dtype not in _NAMES:
            raise UserError(f"the dtype of {name} must be one of {', '.join(map(str, _NAMES))}, got {tensor.dtype}")
        dtype = _NAMES[tensor.dtype]
        stored = to_half(name, tensor) if name in half and dtype in _ROUNDED else tensor
        stored = stored.detach().cpu().contiguous()
        names = (name + _BITMASK, name + _VALUES)
        coded = None if any(taken in state for taken in names) else _coded(name, stored)
        if coded is None:
            tensors[name] = RawTensor(_NAMES[stored.dtype], tuple(stored.shape), _raw(stored))
        else:
            tensors |= zip(names, coded, strict=True)
        if coded is not None or stored.dtype != tensor.dtype:
            changed[name] = {"dtype": dtype, "shape": list(tensor.shape)}
    return tensors, json.dumps({"version": _VERSION, "tensors": changed}, separators=(",", ":"), ensure_ascii=False)


def to_half(name: str, tensor: Tensor) -> Tensor:
    """Round a tensor to float16.

    Raises:
        UserError: A finite value is over the range of float16.
    """
    rounded = tensor.detach().to(torch.float16)
    if bool((rounded.isinf() & tensor.detach().isfinite()).any()):
        largest = tensor.detach()[tensor.detach().isfinite()].abs().max().item()
        raise UserError(
            f"the values of {name} must be at most {torch.finfo(torch.float16).max:g} to be stored as float16, "
            f"got {largest:g}: export it with float32 values"
        )
    return rounded


def plan(header: Header) -> dict[str, StoredTensor]:
    """Return the tensors of the network that a header describes, by name.

    Raises:
        DamageError: The header contradicts itself.
    """
    record = parse_json(header.metadata[KEY], f"its metadata {KEY}")
    tensors = record.get("tensors")
    if record.keys() != {"version", "tensors"} or record["version"] != _VERSION or not isinstance(tensors, dict):
        raise DamageError(f"its metadata {KEY} must have the version {_VERSION} and tensors")
    rest = dict(header.entries)
    found = {name: _stored(name, value, rest) for name, value in tensors.items()}
    found |= {name: StoredTensor(entry.dtype, entry.shape, entry) for name, entry in rest.items()}
    dense = sum(stored.dense_bytes for stored in found.values())
    if header.data_bytes > dense:
        raise DamageError(f"its data must have at most {dense} bytes, as the dense tensors, got {header.data_bytes}")
    return found


def check(name: str, stored: StoredTensor, data: memoryview) -> None:
    """Check the data of a tensor.

    Raises:
        DamageError: The bits and the values differ in number, unused bits are set, or a bool is not 0 or 1.
    """
    if stored.values.dtype == "BOOL" and any(part.max(initial=0) > 1 for part in _chunks(stored.values, data)):
        raise DamageError(f"the values of {name!r} must be 0 or 1")
    if stored.bitmask is None:
        return
    ones = sum(int(np.bitwise_count(part).sum()) for part in _chunks(stored.bitmask, data))
    values = stored.values.shape[0]
    if ones != values:
        raise DamageError(f"the bitmask of {name!r} has {ones} ones, but there are {values} values")
    unused = -math.prod(stored.shape) % 8
    if unused and data[stored.bitmask.end - 1] & ((1 << unused) - 1):
        raise DamageError(f"the unused bits in the bitmask of {name!r} must be 0")


def decode_into(target: Tensor, stored: StoredTensor, data: memoryview) -> None:
    """Write the elements of a tensor that was checked into a contiguous tensor on the CPU of its dtype and shape.

    Beyond the target, this needs a constant amount of memory.
    """
    flat = _raw(target.detach()).reshape(-1)
    width = item_bytes(stored.values.dtype)
    values = data[stored.values.start : stored.values.end]
    if stored.bitmask is None:
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            part[...] = _read(stored, values[start * width : (start + part.size) * width])
        return
    used = 0
    for number, bits in enumerate(_chunks(stored.bitmask, data)):
        part = flat[8 * _CHUNK * number : 8 * _CHUNK * (number + 1)]
        mask = np.unpackbits(bits, count=part.size).view(np.bool_)
        count = int(np.count_nonzero(mask))
        part[...] = 0
        part[mask] = _read(stored, values[used * width : (used + count) * width])
        used += count


def _read(stored: StoredTensor, data: memoryview) -> npt.NDArray[Any]:
    """Return values as unsigned integers of the width of the tensor."""
    if stored.values.dtype == stored.dtype:
        return np.frombuffer(data, f"<u{item_bytes(stored.dtype)}")
    width = item_bytes(stored.dtype)
    return np.frombuffer(data, "<f2").astype(f"<f{width}").view(f"<u{width}")


def _chunks(entry: Entry, data: memoryview) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(entry.start, entry.end, _CHUNK):
        yield np.frombuffer(data[start : min(start + _CHUNK, entry.end)], np.uint8)


def _coded(name: str, tensor: Tensor) -> tuple[RawTensor, RawTensor] | None:
    """Return the bitmask and the values of a contiguous tensor; None if they are not smaller."""
    keep = tensor.reshape(-1) != 0
    count, size = int(keep.sum()), tensor.element_size()
    length = -(-keep.numel() // 8)
    if length + count * size + 2 * len(name.encode()) + _ENTRY_BYTES >= keep.numel() * size:
        return None
    bits = np.packbits(keep.numpy())
    values = tensor.reshape(-1)[keep]
    return RawTensor("U8", bits.shape, bits), RawTensor(_NAMES[tensor.dtype], (count,), _raw(values))


def _raw(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a contiguous tensor as unsigned integers of the same width, in the same memory."""
    array: npt.NDArray[Any] = tensor.view(_UNSIGNED[tensor.element_size()]).numpy()
    return array.view(f"u{tensor.element_size()}")


def _stored(name: str, value: Any, rest: dict[str, Entry]) -> StoredTensor:
    """Return a tensor that is not stored as it is; its entries are removed from `rest`."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape"}:
        raise DamageError(f"its metadata {KEY} must have dtype and shape of {name!r}")
    dtype, shape = parse_dtype(name, value["dtype"]), parse_shape(name, value["shape"])
    dense = rest.pop(name, None)
    bitmask, values = (None, dense) if dense else (rest.pop(name + _BITMASK, None), rest.pop(name + _VALUES, None))
    if values is None or (bitmask is None and dense is None):
        raise DamageError(f"{name + (_BITMASK if values else _VALUES)!r} is missing")
    if bitmask is None:
        if values.shape != shape or values.dtype == dtype:
            raise DamageError(f"the tensor {name!r} must be stored as float16 in its shape")
    elif bitmask.dtype != "U8" or bitmask.shape != (-(-math.prod(shape) // 8),):
        raise DamageError(f"the bitmask of {name!r} must have one bit for each of {math.prod(shape)} elements")
    elif len(values.shape) != 1 or values.shape[0] > math.prod(shape):
        raise DamageError(f"the values of {name!r} must be a list of at most {math.prod(shape)}")
    if values.dtype != dtype and not (values.dtype == _HALF and dtype in _ROUNDED):
        raise DamageError(f"the values of {name!r} must have the dtype {dtype}, got {values.dtype}")
    return StoredTensor(dtype, shape, values, bitmask)
