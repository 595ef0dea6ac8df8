"""Estimate of the memory that a training takes on its device."""

import copy
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dasc.augment.operations import BINS, OPERATIONS, Kind
from dasc.data import EvaluationOrder, ImageData
from dasc.errors import UserError
from dasc.machine import available_memory
from dasc.modules import Classifier, DistilledClassifier

_DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}
_REAL = 2
"""Images of the forward pass where a network does not run on meta tensors."""
_LARGEST_REAL = 512 * 512
"""Pixels at most of those images."""
_FASTER_REAL = 64 * 64
"""Pixels up to which two real images take less time than meta tensors, whose BatchNorm is written in Python."""


class Device(NamedTuple):
    """A device that trains."""

    name: str
    memory: int | None
    """Bytes for one process; None if unknown."""


UNKNOWN = Device("the device", None)
"""A device that is not known before the run."""


@dataclass(frozen=True)
class Memory:
    """Bytes that one process of a training takes.

    Not counted: the teacher's forward pass, scores of views, augmentation of a batch, and workspace of kernels.

    Args:
        weights: Parameters and buffers, those of a teacher and of averaged weights too.
        gradients: Gradients; with several processes, their buckets too.
        optimizer: State of the optimizer; 0 if it is unknown.
        images: Training and validation images that are kept in memory.
        tables: RandAugment's tables, which hold a place for each pixel.
        training: Activations of a training batch when its backward pass starts; None if unknown.
        evaluation: Largest activations at a time of a validation batch; None if unknown.
        batch_size: Images of a training batch.
        eval_batch_size: Images of a validation batch.
        processes: Number of processes.
    """

    weights: int
    gradients: int
    optimizer: int
    images: int
    tables: int
    training: int | None
    evaluation: int | None
    batch_size: int
    eval_batch_size: int
    processes: int = 1

    @property
    def fixed(self) -> int:
        """Bytes that do not depend on the batch size."""
        return self.weights + self.gradients + self.optimizer + self.images + self.tables

    @property
    def activations(self) -> int:
        """The larger of the known `training` and `evaluation`."""
        return max(self.training or 0, self.evaluation or 0)

    @property
    def total(self) -> int:
        """All bytes."""
        return self.fixed + self.activations

    @property
    def _evaluation_is_larger(self) -> bool:
        return (self.evaluation or 0) > (self.training or 0)

    def __str__(self) -> str:
        known = self.training is not None or self.evaluation is not None
        where = f"at batch size {self.batch_size}"
        if self._evaluation_is_larger:
            where = f"at the {self.eval_batch_size} images of a validation batch"
        activations = f"activations {bytes_text(self.activations)} {where}" if known else "activations unknown"
        parts = [activations, f"parameters and optimizer {bytes_text(self.weights + self.gradients + self.optimizer)}"]
        parts += [f"images {bytes_text(self.images)}"] if self.images else []
        parts.append(f"RandAugment tables {bytes_text(self.tables)}")
        each = " per process" if self.processes > 1 else ""
        return f"about {bytes_text(self.total)}{each}: {', '.join(parts)}"

    def warning(self, device: Device) -> str | None:
        """Return a sentence if a training takes more than a device has; None if not, or if that is unknown."""
        if device.memory is None or self.total <= device.memory:
            return None
        remedies = ["a smaller data.image_size"]
        if self.fixed <= device.memory:
            batch = "data.batch_size with trainer.accumulate_grad_batches"
            remedies.insert(0, "a smaller " + ("data.eval_batch_size" if self._evaluation_is_larger else batch))
        each = " per process" if self.processes > 1 else ""
        return (
            f"training needs about {bytes_text(self.total)} of memory{each}, {device.name} has "
            f"{bytes_text(device.memory)}: set {' or '.join(remedies)}"
        )

    def check(self, device: Device) -> None:
        """Check that a device has the memory that is needed at any batch size.

        Raises:
            UserError: It does not.
        """
        if device.memory is not None and self.fixed > device.memory:
            off = "data.on_device to false or " if self.images > self.tables else ""
            raise UserError(
                f"memory of {device.name} must be >= {bytes_text(self.fixed)} for parameters, optimizer, images and "
                f"RandAugment tables, got {bytes_text(device.memory)}: set {off}data.image_size to a smaller size"
            )


def estimate(module: Classifier, data: ImageData, precision: Any = None, processes: int = 1) -> Memory:
    """Estimate the memory of one process; neither the module nor a random state is changed.

    In mixed precision, activations count half of their float32 bytes, with a copy of the parameters in that precision.

    Args:
        module: The module, prepared for the data, with the network of its first stage, which is the largest.
        data: The data.
        precision: `trainer.precision`.
        processes: Number of processes that share a batch.
    """
    name, _, kind = str(precision).partition("-")
    whole = _DTYPES.get(name, torch.float32) if kind == "true" or name == "64" else torch.float32
    mixed = name in ("16", "bf16") and whole is torch.float32
    trainable = [p for p in module.parameters() if p.requires_grad]
    gradients = _bytes(trainable, whole)
    height, width = data.image_size
    counts = data.counts()
    train = data.batch_size // processes
    order = EvaluationOrder(counts.get("val", 0), data.eval_batch_size, 0, processes)
    evaluated = len(order.batches()[0])
    measure = _Measure(module.network, data.image_size, whole, mixed)
    training, views = measure.peak(train, training=True), data.augmentation.views
    return Memory(
        weights=_weights(module, whole),
        gradients=gradients * (2 if processes > 1 else 1),
        optimizer=_optimizer_bytes(module, trainable, whole),
        images=data.resident_bytes(),
        tables=sum(o.kind is Kind.MAP for o in OPERATIONS) * BINS * 2 * height * width * 4,
        training=None if training is None else training + (views - 1) * train * 3 * height * width * whole.itemsize,
        evaluation=measure.peak(evaluated, training=False),
        batch_size=train,
        eval_batch_size=evaluated,
        processes=processes,
    )


def device_of(kind: str, index: int = 0, processes: int = 1) -> Device:
    """Return a device and its memory.

    Args:
        kind: Type of a torch device.
        index: Number of the GPU.
        processes: Processes on this machine, which share the memory of a CPU.
    """
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(index)
        return Device(properties.name, properties.total_memory)
    memory = available_memory() if kind == "cpu" else None
    name = "this machine" if processes == 1 else f"this machine, for each of {processes} processes,"
    return Device(name, None if memory is None else memory // processes)


def bytes_text(count: int) -> str:
    """Return bytes with two or three digits and a decimal unit: `950 kB`, `2.9 GB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.1f} {units[0]}" if 0 < value < 9.95 and units[0] != "B" else f"{value:.0f} {units[0]}"


def _weights(module: Classifier, whole: torch.dtype) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    own = _bytes(tensors, whole)
    average = 0 if module.averaging is None else _bytes((t for t in tensors if t.is_floating_point()), whole)
    teacher: nn.Module = nn.Module()
    if isinstance(module, DistilledClassifier):
        teacher = module.network if module.waits_for_teacher else module.teacher.network
    return own + average + _bytes([*teacher.parameters(), *teacher.buffers()], whole)


def _bytes(tensors: Iterable[Tensor], whole: torch.dtype) -> int:
    return sum(t.numel() * (whole.itemsize if t.is_floating_point() else t.itemsize) for t in tensors)


def _optimizer_bytes(module: Classifier, trainable: list[nn.Parameter], whole: torch.dtype) -> int:
    """Return the bytes of the state that the first step of the optimizer makes; 0 if it cannot be known this way."""
    parameters = [nn.Parameter(torch.empty_like(p, device="meta", dtype=whole)) for p in trainable]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    try:
        optimizer = module.optimizer(parameters)
        optimizer.step()
    except Exception:  # an optimizer of the user's own may need real tensors, or a closure
        return 0
    tensors = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors)


class _Measure:
    """Activations of a copy of a network on two real images, or on meta tensors, which have no memory."""

    def __init__(self, network: nn.Module, size: tuple[int, int], dtype: torch.dtype, mixed: bool) -> None:
        self._network, self._size, self._dtype, self._mixed = network, size, dtype, mixed

    def peak(self, images: int, training: bool) -> int | None:
        """Return the most bytes at a time in a forward pass, with what a backward pass needs; None if it fails."""
        pixels = self._size[0] * self._size[1]
        devices = [(images, "meta")] + [(_REAL, "cpu")] * (pixels <= _LARGEST_REAL)
        for count, device in devices if pixels > _FASTER_REAL else reversed(devices):
            found = self._try(count, training, device)
            if found is not None:
                copies = sum(p.numel() for p in self._network.parameters()) * 2 if self._mixed else 0
                return found * images // count + copies
        return None

    def _try(self, images: int, training: bool, device: str) -> int | None:
        try:
            with isolate_rng(include_cuda=False), torch.set_grad_enabled(training):
                network = copy.deepcopy(self._network).to(device, self._dtype)
                network = network if training else network.eval()
                batch = torch.zeros(images, 3, *self._size, device=device, dtype=self._dtype)
                own = [t.untyped_storage() for t in (*network.parameters(), *network.buffers())]
                with _Live(own, self._mixed) as live:
                    live.add(batch)
                    network(batch)
        except Exception:  # a network of the user's own may raise anything; a training will say it
            return None
        return int(live.peak)


class _Live(TorchDispatchMode):
    """Bytes of the tensors that exist at a time, each storage once.

    Args:
        ignored: Storages that do not count.
        halved: Whether float32 tensors count half.
    """

    def __init__(self, ignored: list[UntypedStorage], halved: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._ignored = ignored
        self._halved = halved
        self._known = set(map(id, ignored))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.add(value)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor until its storage is freed."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        count = storage.nbytes() // (2 if self._halved and tensor.dtype is torch.float32 else 1)
        self._known.add(key)
        self._now += count
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._remove, key, count).atexit = False

    def _remove(self, key: int, count: int) -> None:
        self._known.discard(key)
        self._now -= count
