"""Random pruning."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dasc.pruning.criterion import Criterion, prune_lowest


class Random(Criterion):
    """Prunes weights drawn uniformly within each layer: a baseline for the other criteria."""

    layerwise = True

    def masks(
        self, weights: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """As `Criterion`; the weights' values do not matter."""
        scores = {
            name: torch.randperm(weight.numel(), generator=generator).view(weight.shape)
            for name, weight in weights.items()
        }
        return prune_lowest(scores, current, target, self.layerwise)
