"""Networks to prune, and the L1 criterion as a function."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dasc.networks import CifarResNet, prunable_weights
from dasc.pruning import L1, Scope

SPARSITIES = [0.0, 0.2, 0.4, 0.6, 0.8, 0.905]
SCOPES: list[Scope] = ["layer", "global"]

Change = Callable[[Tensor], Tensor]


def all_on(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in weights.items()}


def l1_masks(
    weights: Mapping[str, Tensor], sparsity: float, scope: Scope, current: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    return L1(scope).masks(weights, current or all_on(weights), sparsity, torch.Generator())


def as_made(weight: Tensor) -> Tensor:
    return weight


def tied(weight: Tensor) -> Tensor:
    return (weight * 20).round() / 20


def equal(weight: Tensor) -> Tensor:
    return torch.full_like(weight, 0.25)


def with_zeros(weight: Tensor) -> Tensor:
    return weight * (torch.rand(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) > 0.3)


def resnet(change: Change = as_made, depth: int = 20) -> CifarResNet:
    torch.manual_seed(11)
    network = CifarResNet(10, depth=depth)
    with torch.no_grad():
        for weight in prunable_weights(network).values():
            weight.copy_(change(weight))
    return network


def off(masks: dict[str, Tensor]) -> int:
    return sum(mask.flatten().tolist().count(False) for mask in masks.values())
