"""Criteria that select the channels to remove."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.networks import PlacedGroup, axes_of
from dasc.pruning.channels.sizes import original_channels
from dasc.pruning.l1 import Scope


class ChannelCriterion(ABC):
    """Rule that selects the channels to keep.

    A subclass needs `scores`. Arguments of its constructor are stored in attributes of the same names.

    Args:
        scope: Whether the share holds in each `layer`, or over all layers (`global`), whose channels are compared by
            their score over the mean score of their group.
        round_to: The number of channels that is kept in a layer is the nearest multiple of it, and at least it; layers
            with fewer channels stay whole. CPUs and GPUs are fastest with multiples of 8.

    Raises:
        UserError: An argument is out of its range.
    """

    def __init__(self, scope: Scope = "layer", round_to: int = 1) -> None:
        if scope not in ("layer", "global"):
            raise UserError(f"channel_criterion.scope must be layer or global, got {scope}")
        if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
            raise UserError(f"channel_criterion.round_to must be an integer >= 1, got {round_to}")
        self.scope: Scope = scope
        self.round_to = round_to

    @abstractmethod
    def scores(self, network: nn.Module, group: PlacedGroup) -> Tensor:
        """Return the scores (size,) of the channels of a group, float64 on the CPU; the lowest are removed first."""

    def keep(self, network: nn.Module, groups: Sequence[PlacedGroup], share: float) -> list[list[int]]:
        """Return the channels of each group that are kept, ascending.

        Args:
            network: The network; weights under masks are 0.
            groups: Its groups of channels.
            share: The share of the original channels that is removed, in [0, 1), with those removed before.

        Raises:
            UserError: No channel of a layer would be left.
        """
        with torch.no_grad():
            scores = [self.scores(network, group) for group in groups]
        originals = [original_channels(network, group) for group in groups]
        self._check(groups, originals, share)
        if self.scope == "layer":
            counts = [self._count(original * (1 - share), original) for original in originals]
        else:
            counts = self._counts_over_all(scores, originals, share)
        return [_highest(score, count) for score, count in zip(scores, counts, strict=True)]

    def recipe(self) -> dict[str, Any]:
        """Return, as plain data, what must be equal to resume a run."""
        return {"class": type(self).__name__} | vars(self)

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in vars(self).items())
        return f"{type(self).__name__} ({settings})"

    def _check(self, groups: Sequence[PlacedGroup], originals: Sequence[int], share: float) -> None:
        original, group = min(zip(originals, groups, strict=True), key=lambda pair: pair[0])
        if _nearest(original * (1 - share)) < 1:
            layer = next(iter(group.positions))[0]
            most = math.floor(1000 * (1 - 0.5 / original) - 1e-6) / 1000
            raise UserError(
                f"channels must be at most {most:g} for this network, got {share:g}: {layer} has {original} channels, "
                "and none would be left"
            )

    def _count(self, wanted: float, original: int) -> int:
        return min(max(self.round_to * _nearest(wanted / self.round_to), self.round_to), original)

    def _counts_over_all(self, scores: Sequence[Tensor], originals: Sequence[int], share: float) -> list[int]:
        least = [min(self.round_to, len(score)) for score in scores]
        relative = [score / score.mean().clamp(min=torch.finfo(score.dtype).tiny) for score in scores]
        for score, count in zip(relative, least, strict=True):
            score[_highest(score, count)] = torch.inf  # these stay
        kept = max(_nearest(sum(originals) * (1 - share)), sum(least))
        best = torch.cat(relative).sort(descending=True, stable=True).indices[:kept]
        mask = torch.zeros(sum(map(len, relative)), dtype=torch.bool)
        mask[best] = True
        found = [int(part.sum()) for part in mask.split([len(score) for score in relative])]
        return [self._count(count, len(score)) for count, score in zip(found, scores, strict=True)]


class ChannelL1(ChannelCriterion):
    """Removes the channels whose weights have the smallest absolute values.

    The score of a channel is the mean over the layers of its group of the sum of the absolute values of the weights
    that belong to it: those that make the channel, those that read it, and the factor of BatchNorm. In networks without
    depthwise convolutions, which count here, Torch-Pruning's `GroupMagnitudeImportance(p=1)` ranks channels equally.

    References:
        Li, Kadav, Durdanovic, Samet, Graf, https://arxiv.org/abs/1608.08710; Fang et al.,
        https://arxiv.org/abs/2301.12900.
    """

    def scores(self, network: nn.Module, group: PlacedGroup) -> Tensor:
        """As `ChannelCriterion`."""
        total = torch.zeros(group.size, dtype=torch.float64)
        for (name, axis), positions in group.positions.items():
            layer = network.get_submodule(name)
            dims = dict(axes_of(layer)[axis].tensors)
            if "weight" not in dims or layer.weight is None:
                continue
            weight = layer.get_parameter("weight").detach().to("cpu", torch.float64).abs()
            sums = weight.transpose(0, dims["weight"]).flatten(1).sum(1) if weight.dim() > 1 else weight
            pairs = [(channel, place) for channel, places in enumerate(positions) for place in places]
            channels, places = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
            total.index_add_(0, channels, sums[places])
        return total / len(group.positions)


def _nearest(number: float) -> int:
    """Return the nearest integer; of two equally near ones the lower."""
    return math.ceil(round(number, 6) - 0.5)


def _highest(scores: Tensor, count: int) -> list[int]:
    """Return the places of the highest scores, ascending; of equal ones the first."""
    return sorted(scores.sort(descending=True, stable=True).indices[:count].tolist())
