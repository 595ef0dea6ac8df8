"""Pruning by magnitude."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from dasc.errors import UserError
from dasc.pruning.criterion import Criterion, prune_lowest

Scope = Literal["layer", "global"]


class L1(Criterion):
    """Prunes the weights of the smallest absolute value.

    Equal, bit for bit, to `torch.nn.utils.prune.l1_unstructured` (`layer`) and
    `global_unstructured(pruning_method=L1Unstructured)` (`global`) with `amount=target` on an unpruned network.

    Args:
        scope: Whether weights are compared within their `layer`, or across all layers (`global`).

    Raises:
        UserError: `scope` has another value.
    """

    def __init__(self, scope: Scope = "layer") -> None:
        if scope not in ("layer", "global"):
            raise UserError(f"scope must be layer or global, got {scope}")
        self.scope = scope

    @property
    def layerwise(self) -> bool:
        """Whether the target holds in each layer."""
        return self.scope == "layer"

    def masks(
        self, weights: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """As `Criterion`; draws nothing."""
        scores = {name: weight.detach().abs() for name, weight in weights.items()}
        return prune_lowest(scores, current, target, self.layerwise)

    def recipe(self) -> dict[str, Any]:
        """As `Criterion`, in the form of checkpoints from before there were other criteria."""
        return {"scope": self.scope}

    def __str__(self) -> str:
        return f"scope {self.scope}"
