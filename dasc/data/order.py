"""Which images make which batch: the same for images in memory and in files."""

from typing import Protocol

import torch
from torch import Tensor

from dasc.seeding import Stream, mix


class Order(Protocol):
    """The batches of one process in one epoch, as places in the set."""

    epoch: int

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""

    def __len__(self) -> int: ...

    def batches(self) -> list[Tensor]:
        """Return this process's share of every batch, int64."""


class OrderedLoader:
    """Base class of the loaders: the methods that Lightning calls, and the position within an epoch.

    With `state_dict` and `load_state_dict`, an iteration continues at the batch after those that were already returned.

    Args:
        order: Which images make which batch of this process.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._epoch = 0
        self._returned = 0
        self._resumed: dict[str, int] = {}

    def state_dict(self) -> dict[str, int]:
        """Return the epoch of the current iteration and the number of batches that it has returned."""
        return {"epoch": self._epoch, "batches": self._returned}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Skip the batches that were returned, if the next iteration is of the same epoch."""
        self._resumed = dict(state_dict)

    def _remaining(self) -> tuple[range, list[Tensor]]:
        """Return the numbers of the batches that are left in the epoch, and the places of their images (int64)."""
        resumed, self._resumed = self._resumed, {}
        self._epoch = self._order.epoch
        self._returned = resumed["batches"] if resumed.get("epoch") == self._epoch else 0
        batches = self._order.batches()
        return range(self._returned, len(batches)), batches[self._returned :]

    @property
    def sampler(self) -> Order:
        """The order: Lightning calls `loader.sampler.set_epoch` before every epoch."""
        return self._order

    @property
    def batch_sampler(self) -> None:
        """None: Lightning asks every loader that has a sampler."""

    def __len__(self) -> int:
        return len(self._order)


class TrainingOrder:
    """Every epoch in an order of its own, the same on all processes; each takes every `world_size`-th image of a batch.

    The last images of an order that do not fill a batch are left out: no image comes twice in an epoch.

    Args:
        count: Number of images.
        batch_size: Images of one optimizer step over all processes.
        seed: Seed of the run.
        rank: Number of this process.
        world_size: Number of processes; divides `batch_size`.
        fixed: Whether all epochs have the order of the first one.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, fixed: bool = False
    ) -> None:
        self._count = count
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._fixed = fixed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count // self._batch_size

    def batches(self) -> list[Tensor]:
        """Return this process's share of every batch, int64."""
        seed = mix(Stream.ORDER, self._seed, 0 if self._fixed else self.epoch)
        order = torch.randperm(self._count, generator=torch.Generator().manual_seed(seed))
        batches = order[: len(self) * self._batch_size].split(self._batch_size)
        return [batch[self._rank :: self._world_size] for batch in batches]


class EvaluationOrder:
    """Every image once, in order; all processes have equally many batches, their sizes differ by one at most.

    Args:
        count: Number of images.
        batch_size: Images of one batch over all processes, about.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.epoch = 0
        shortest, longest = count // world_size, -(-count // world_size)
        self._batches = min(-(-longest // max(batch_size // world_size, 1)), max(shortest, 1))  # none is empty
        self._mine = torch.arange(rank, count, world_size)

    def set_epoch(self, epoch: int) -> None:
        """Keep the order: it is the same in every epoch."""

    def __len__(self) -> int:
        return self._batches

    def batches(self) -> list[Tensor]:
        """Return this process's share of every batch, int64."""
        return list(self._mine.tensor_split(self._batches))
