"""Pruning by layer-adaptive magnitude."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dasc.pruning.criterion import Criterion, prune_lowest


class LAMP(Criterion):
    """Prunes the weights of the lowest layer-adaptive magnitude score, compared across all layers.

    The score of a weight is its square over the sum of the squares of this weight and of those after it, with the
    weights of its layer sorted by magnitude. The largest weight of each layer has score 1, so that every layer keeps a
    weight, as long as the target leaves at least one weight per layer.

    References:
        Lee, Park, Mo, Ahn, Shin, https://arxiv.org/abs/2010.07611.
    """

    layerwise = False

    def masks(
        self, weights: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """As `Criterion`; draws nothing."""
        scores = {name: lamp_scores(weight, current[name]) for name, weight in weights.items()}
        return prune_lowest(scores, current, target, self.layerwise)


def lamp_scores(weight: Tensor, mask: Tensor) -> Tensor:
    """Return the scores of the weights of one layer, of the same shape, float64, on the CPU, in [0, 1].

    Args:
        weight: The weights of the layer.
        mask: The layer's mask so far (bool); weights that are pruned there count as 0.
    """
    # on the CPU: cumsum of floats has no deterministic CUDA kernel, and MPS has no float64
    squares = weight.detach().to("cpu", torch.float64).square() * mask.to("cpu")
    ascending, order = squares.reshape(-1).sort(stable=True)
    sums = ascending.flip(0).cumsum(0).flip(0)
    ranked = (ascending / sums).nan_to_num(nan=0.0)  # 0 / 0 in a layer of zeros
    ranked[-1:] = 1.0  # one weight of a layer of zeros stays, too
    return torch.empty_like(ranked).scatter(0, order, ranked).view(squares.shape)
