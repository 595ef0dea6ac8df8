"""A bound for the memory of tensors while a network is built."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class AllocationError(Exception):
    """Tensors would need more memory than allowed."""


class AllocationLimit(TorchDispatchMode):
    """Context in which new tensors of a device type have at most `limit` bytes together; freed ones do not count.

    The size of a result is known before its memory is allocated. Results whose size depends on values, as those of
    `nonzero`, count afterwards.

    Args:
        limit: The bytes.
        on_meta: Whether tensors on the meta device, which have no memory, count as well.
    """

    def __init__(self, limit: int, on_meta: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._limit = limit
        self._on_meta = on_meta
        self._bytes: dict[str, int] = defaultdict(int)
        self._storages: dict[str, dict[StorageWeakRef, int]] = defaultdict(dict)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation if its results fit.

        Raises:
            AllocationError: They do not.
        """
        kwargs = kwargs or {}
        if func._schema.is_mutable or func.is_view:
            return func(*args, **kwargs)
        device = _device_of(args, kwargs)
        if device != "meta":
            self._check(device, _bytes_of_results(func, args, kwargs))
        results = func(*args, **kwargs)
        for tensor in _tensors(results):
            if self._on_meta or tensor.device.type != "meta":
                self._add(tensor)
                self._check(tensor.device.type)
        return results

    def _check(self, device: str, size: int = 0) -> None:
        """Check that `size` more bytes fit."""
        if self._bytes[device] + size > self._limit:
            self._drop_freed(device)
        if self._bytes[device] + size > self._limit:
            raise AllocationError(f"its tensors must have at most {self._limit} bytes")

    def _add(self, tensor: Tensor) -> None:
        storage, device = tensor.untyped_storage(), tensor.device.type
        reference = StorageWeakRef(storage)
        if reference not in self._storages[device]:
            self._storages[device][reference] = storage.nbytes()
            self._bytes[device] += storage.nbytes()

    def _drop_freed(self, device: str) -> None:
        alive = {storage: size for storage, size in self._storages[device].items() if not storage.expired()}
        self._storages[device], self._bytes[device] = alive, sum(alive.values())


def _device_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the device type of the results of an operation."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type
    return next((tensor.device.type for tensor in _tensors((args, kwargs))), "cpu")


def _bytes_of_results(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return the bytes of the results of an operation, which runs on the meta device; 0 if they depend on values."""
    meta_args, meta_kwargs = tree_map_only(Tensor, _on_meta, (list(args), dict(kwargs)))
    if any(argument.name == "device" for argument in func._schema.arguments):
        meta_kwargs["device"] = torch.device("meta")
        meta_kwargs.pop("pin_memory", None)
    if "generator" in meta_kwargs:
        meta_kwargs["generator"] = None
    try:
        results = func(*meta_args, **meta_kwargs)
    except (RuntimeError, TypeError):  # NotImplementedError is a RuntimeError; the operation itself says what is wrong
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(results))


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _tensors(results: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor))
