"""Removal of channels from a network, its masks and the state of its optimizers."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dasc.networks import Kept, set_axis_size, tensors_of
from dasc.pruning.channels.sizes import note_removal, set_tensor
from dasc.pruning.masks import Masks

Selection = list[tuple[int, Tensor]]
"""Positions (int64) that a tensor keeps, each list with its dimension."""


@torch.no_grad()
def remove_channels(
    network: nn.Module, kept: Kept, share: float, masks: Masks | None = None, optimizers: Iterable[Optimizer] = ()
) -> None:
    """Remove channels from a network in place.

    Parameters that change are new objects, also in the groups of the optimizers; their optimizer state and their masks
    keep the same positions. Gradients are dropped.

    Args:
        network: The network.
        kept: The positions that are kept, from `kept_positions`; layers and axes that are missing stay whole.
        share: The share of the original channels that the network has lost now, in [0, 1).
        masks: The masks of its weights.
        optimizers: The optimizers of its parameters.
    """
    note_removal(network, share, kept)
    replaced: dict[nn.Parameter, tuple[nn.Parameter, Selection]] = {}
    for name, axes in kept.items():
        layer = network.get_submodule(name)
        selections: dict[str, Selection] = {}
        for axis, places in axes.items():
            for tensor_name, (tensor, dim) in tensors_of(layer, axis).items():
                index = torch.tensor(places, device=tensor.device)
                selections.setdefault(tensor_name, []).append((dim, index))
            set_axis_size(layer, axis, len(places))
        for tensor_name, selection in selections.items():
            old = getattr(layer, tensor_name)
            set_tensor(layer, tensor_name, _select(old.detach(), selection))
            if isinstance(old, nn.Parameter):
                replaced[old] = (getattr(layer, tensor_name), selection)
            full_name = f"{name}.{tensor_name}"
            if masks is not None and full_name in masks.by_name():
                masks.replace(full_name, _select(masks.by_name()[full_name], selection))
    for optimizer in optimizers:
        _replace_parameters(optimizer, replaced)


def _select(tensor: Tensor, selection: Selection) -> Tensor:
    for dim, index in selection:
        tensor = tensor.index_select(dim, index.to(tensor.device))
    return tensor.contiguous()


def _replace_parameters(optimizer: Optimizer, replaced: Mapping[nn.Parameter, tuple[nn.Parameter, Selection]]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [replaced[p][0] if p in replaced else p for p in group["params"]]
    for old, (new, selection) in replaced.items():
        if old in optimizer.state:
            state = optimizer.state.pop(old)
            optimizer.state[new] = {name: _select_state(value, old, selection) for name, value in state.items()}


def _select_state(value: object, old: Tensor, selection: Selection) -> object:
    """Return what an optimizer keeps of a parameter; a factor of it may have size 1 in some dimension."""
    if not isinstance(value, Tensor) or value.dim() != old.dim():
        return value
    return _select(value, [(dim, index) for dim, index in selection if value.size(dim) == old.size(dim)])
