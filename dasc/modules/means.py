"""Means of scalars over the batches of an epoch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class EpochMeans:
    """Sums scalars batch by batch on their device, without waiting for it, until the epoch ends."""

    def __init__(self) -> None:
        self.batches = 0
        """Number of batches summed."""
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None

    def reset(self) -> None:
        """Start an epoch."""
        self.batches = 0
        self._sums = None

    def update(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of a batch; all batches have the same names."""
        self._names = tuple(values)
        step = torch.stack([value.detach().float() for value in values.values()])
        self._sums = step if self._sums is None else self._sums.add_(step)
        self.batches += 1

    def compute(self) -> Tensor | None:
        """Return the means over the batches so far, float32 (names,), for `by_name`; None before the first batch."""
        return None if self._sums is None else self._sums / self.batches

    def by_name(self, means: Any) -> dict[str, float]:
        """Return what `compute` returned, or its mean over processes, by name; empty for None."""
        return {} if means is None else dict(zip(self._names, means.tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """Return the sums as plain data."""
        sums = None if self._sums is None else self._sums.tolist()
        return {"batches": self.batches, "names": list(self._names), "sums": sums}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from sums that `state` returned."""
        self.batches = state["batches"]
        self._names = tuple(state["names"])
        self._sums = None if state["sums"] is None else torch.tensor(state["sums"], device=device)
