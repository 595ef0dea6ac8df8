"""Pruning criteria: the base class, and what its subclasses share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Criterion(ABC):
    """Rule that selects the weights to prune.

    A subclass needs `layerwise` and `masks`, nothing else. Its constructor stores its arguments, which must be plain
    data, in attributes of the same names: `dasc plan` shows them, and a checkpoint records them.
    """

    @property
    @abstractmethod
    def layerwise(self) -> bool:
        """Whether the target holds in each layer; a class attribute will do.

        True: each layer has `round(target * size)` pruned weights. False: all layers together have that many, and the
        share of each layer depends on the weights.
        """

    @abstractmethod
    def masks(
        self, weights: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return masks (bool, False where a weight is pruned) that reach a target sparsity.

        Args:
            weights: The prunable weights by name.
            current: The masks so far, by the same names and of the same shapes. Pruned weights stay pruned: where
                `current` prunes more than the target, the result does, too.
            target: Share of pruned weights, in [0, 1); see `layerwise`.
            generator: Source of all random draws, on the CPU; its seed depends on the run's seed and the stage.
        """

    def recipe(self) -> dict[str, Any]:
        """Return, as plain data, what must be equal to resume a run."""
        return {"criterion": {"class": type(self).__name__} | self._settings()}

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self._settings().items())
        return f"criterion {type(self).__name__}" + (f" ({settings})" if settings else "")

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def prune_lowest(
    scores: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, layerwise: bool
) -> dict[str, Tensor]:
    """Return masks (bool, contiguous, on the device of `current`) that prune the weights with the lowest scores.

    Args:
        scores: A number for each weight, by name.
        current: The masks so far; a weight that is pruned there is pruned in the result.
        target: Share of pruned weights, in [0, 1).
        layerwise: Whether scores are compared within each layer, or across all layers.
    """
    if not scores:
        return {}
    ranked = {name: _lowest_where_pruned(score, current[name]) for name, score in scores.items()}
    pruned = {name: mask.numel() - int(mask.sum()) for name, mask in current.items()}
    if layerwise:
        masks = [_lowest_off(score, target, pruned[name]) for name, score in ranked.items()]
    else:
        every = torch.cat([score.reshape(-1) for score in ranked.values()])
        parts = torch.split(
            _lowest_off(every, target, sum(pruned[name] for name in ranked)), [s.numel() for s in ranked.values()]
        )
        masks = [part.view(score.shape) for part, score in zip(parts, ranked.values(), strict=True)]
    return {name: mask.to(current[name].device) for name, mask in zip(ranked, masks, strict=True)}


def _lowest_where_pruned(scores: Tensor, mask: Tensor) -> Tensor:
    lowest = -torch.inf if scores.is_floating_point() else torch.iinfo(scores.dtype).min
    return scores.masked_fill(~mask.to(scores.device), lowest)


def _lowest_off(scores: Tensor, target: float, pruned: int) -> Tensor:
    """Return a mask that is False at the lowest scores, as many as the target asks for and at least `pruned`."""
    mask = torch.ones_like(scores, dtype=torch.bool, memory_format=torch.contiguous_format)
    count = max(round(target * scores.numel()), pruned)
    mask.view(-1)[torch.topk(scores.reshape(-1), k=count, largest=False).indices] = False
    return mask
