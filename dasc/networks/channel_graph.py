"""Groups of channels of any network, by the dependency graph of Torch-Pruning."""

import copy
import warnings
from typing import Any

import torch
from torch import nn

from dasc.errors import UserError
from dasc.networks.axes import axes_of
from dasc.networks.channels import ChannelGroup, Part, declared_groups
from dasc.networks.counts import prunable_weights


def channel_groups(network: nn.Module, image_size: tuple[int, int]) -> list[ChannelGroup]:
    """Return the groups of channels that can be removed from a network.

    They are those of its method `channel_groups() -> list[ChannelGroup] | None`. Without one, or if it returns None,
    Torch-Pruning finds them; groups with layers of other kinds than `axes_of` knows are left out.

    Args:
        network: The network.
        image_size: Height and width of the images of the graph.

    Raises:
        UserError: There are none, Torch-Pruning is not installed, or it fails on the network.

    References:
        Fang, Ma, Song, Mi, Wang, https://arxiv.org/abs/2301.12900.
    """
    declared = declared_groups(network)
    groups = list(_groups_of_graph(network, image_size) if declared is None else declared)
    if not groups:
        last = next(reversed(prunable_weights(network)), "").rpartition(".")[0]
        raise UserError(
            f"channels must be 0 for {type(network).__name__}, whose layers have no channels that can be removed (the "
            f"last of them, {last}, makes the logits): leave the column out, or write the network's method "
            "`channel_groups(self) -> list[dasc.networks.ChannelGroup]`"
        )
    return groups


def _groups_of_graph(network: nn.Module, image_size: tuple[int, int]) -> list[ChannelGroup]:
    try:
        import torch_pruning
    except ImportError:
        raise UserError(
            f"the column channels needs the package torch-pruning for {type(network).__name__}, which is not "
            "installed: run `pip install 'dasc[channels]'` or `pip install torch-pruning`"
        ) from None
    shadow = copy.deepcopy(network).cpu().float().eval().requires_grad_()
    names = {module: name for name, module in shadow.named_modules()}
    head = next(reversed(prunable_weights(shadow)), "").rpartition(".")[0]
    images = torch.zeros(1, 3, *image_size)
    try:
        with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            graph = torch_pruning.DependencyGraph().build_dependency(shadow, example_inputs=images)
            found = [
                _group_of(list(group), names, graph)
                for group in graph.get_all_groups(ignored_layers=[shadow.get_submodule(head)])
            ]
    except Exception as error:  # of Torch-Pruning or of the network
        raise UserError(
            f"channels must be 0 for {type(network).__name__}, on which Torch-Pruning fails ({type(error).__name__}: "
            f"{error}): leave the column out, or write the network's method "
            "`channel_groups(self) -> list[dasc.networks.ChannelGroup]`"
        ) from None
    order = {name: place for place, name in enumerate(names.values())}
    groups = [group for group in found if group is not None and Part(head) not in map(_without_positions, group.parts)]
    return sorted(groups, key=lambda group: order[group.parts[0].layer])


def _without_positions(part: Part) -> Part:
    return Part(part.layer, part.axis)


def _group_of(items: list[Any], names: dict[nn.Module, str], graph: Any) -> ChannelGroup | None:
    """Return a group of Torch-Pruning, whose items are pairs of a dependency and indices; None if it stays whole."""
    size = len(items[0][1])
    places: dict[tuple[str, str], list[list[int]]] = {}
    for dependency, indices in items:
        module = dependency.target.module
        if isinstance(module, nn.Parameter):
            return None
        if module not in names:  # an operation
            continue
        axes = axes_of(module)
        axis = "out" if graph.is_out_channel_pruning_fn(dependency.handler) or len(axes) == 1 else "in"
        positions = _positions(indices, size)
        if axis not in axes or positions is None:
            return None
        channels = places.setdefault((names[module], axis), [[] for _ in range(size)])
        for channel, found in zip(channels, positions, strict=True):
            channel += [place for place in found if place not in channel]
    order = {name: place for place, name in enumerate(names.values())}
    parts = [Part(*key, tuple(map(tuple, positions))) for key, positions in places.items()]
    # a layer that makes the channels comes first
    return ChannelGroup(tuple(sorted(parts, key=lambda part: (part.axis != "out", order[part.layer], part.axis))))


def _positions(indices: list[Any], size: int) -> list[list[int]] | None:
    """Return the positions of each channel of a group; None if they are not known."""
    if indices and all(isinstance(index, tuple) for index in indices):  # of a position and a channel
        positions: list[list[int]] = [[] for _ in range(size)]
        for index in indices:
            positions[index.root_idx].append(index.idx)
        return positions
    if len(indices) % size:
        return None
    each = len(indices) // size
    return [list(indices[k * each : (k + 1) * each]) for k in range(size)]
