"""Parameters and multiply-accumulates of a network, dense and without its zeros."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class Count(NamedTuple):
    """Sizes of a network; MACs are of one image."""

    layers: int
    """Convolutions and linear layers, those in shortcuts too."""
    parameters: int
    nonzero_parameters: int
    macs: int
    nonzero_macs: int


def prunable_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of all convolutions and linear layers by their name in the network."""
    layers = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return {
        name: parameter
        for prefix, module in network.named_modules()
        if isinstance(module, layers)
        for name, parameter in module.named_parameters(prefix, recurse=False)
        if name.endswith("weight")
    }


def macs_per_weight(network: nn.Module, image_size: tuple[int, int]) -> tuple[int, dict[str, int]]:
    """Return the MACs of one (3, *image_size) image, and how many each single weight of a layer takes part in."""
    shadow = copy.deepcopy(network).to("meta").eval()
    root = type(shadow).__name__
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, 3, *image_size, device="meta"))
    flops = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    uses = {
        name: flops.get(f"{root}.{name}".rpartition(".")[0], 0) // (2 * weight.numel())
        for name, weight in prunable_weights(shadow).items()
    }
    return counter.get_total_flops() // 2, uses


def count(network: nn.Module, image_size: tuple[int, int]) -> Count:
    """Count the parameters and MACs of a network, and those that are left when zero weights are skipped."""
    macs, uses = macs_per_weight(network, image_size)
    weights = prunable_weights(network)
    parameters = list(network.parameters())
    zero_macs = sum(uses[name] * _zeros(weight) for name, weight in weights.items())
    return Count(
        layers=len(weights),
        parameters=sum(p.numel() for p in parameters),
        nonzero_parameters=sum(p.numel() for p in parameters) - sum(map(_zeros, weights.values())),
        macs=macs,
        nonzero_macs=macs - zero_macs,
    )


def short(number: int) -> str:
    """Write all digits of a number below ten million, four of a larger one."""
    if number < 10**7:
        return f"{number:,}"
    unit, letter = max((unit, letter) for unit, letter in ((10**6, "M"), (10**9, "G"), (10**12, "T")) if unit <= number)
    return f"{number / unit:.4g}{letter}"


def _zeros(weight: Tensor) -> int:
    return weight.numel() - int(torch.count_nonzero(weight.detach()))
