"""Groups of channels that can only be removed together, such as those of layers whose outputs are added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dasc.errors import UserError
from dasc.networks.axes import axes_of, axis_size


@dataclass(frozen=True)
class Part:
    """A layer that has the channels of a group.

    Args:
        layer: Name of the layer in the network.
        axis: `out` for the channels that the layer returns, `in` for those that it reads. BatchNorm and depthwise
            convolutions have `out` only.
        positions: Positions of each channel on this axis; a channel may have none. None: the whole axis, with equally
            many consecutive positions for each channel, as a linear layer after a flattening has.
    """

    layer: str
    axis: str = "out"
    positions: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together: element of what a network's method `channel_groups` returns.

    Args:
        parts: The layers that have the channels. The first one has one position for each channel, or lists positions.
    """

    parts: tuple[Part, ...]


class PlacedGroup:
    """A group with the positions of its channels in a network.

    Args:
        network: The network.
        group: The group.

    Raises:
        UserError: A part names a layer or an axis that the network does not have, or positions outside of it.
    """

    def __init__(self, network: nn.Module, group: ChannelGroup) -> None:
        layers = dict(network.named_modules())
        for part in group.parts:
            if part.layer not in layers or part.axis not in axes_of(layers[part.layer]):
                raise UserError(
                    f"channel_groups of {type(network).__name__} must name convolutions, linear layers or BatchNorm "
                    f"and their axes out or in, got {part.layer} and {part.axis}: correct the part"
                )
        first = group.parts[0]
        self.size = axis_size(layers[first.layer], first.axis) if first.positions is None else len(first.positions)
        self.positions: dict[tuple[str, str], tuple[tuple[int, ...], ...]] = {}
        for part in group.parts:
            size = axis_size(layers[part.layer], part.axis)
            self.positions[part.layer, part.axis] = self._place(network, part, size)

    def _place(self, network: nn.Module, part: Part, size: int) -> tuple[tuple[int, ...], ...]:
        if part.positions is None and size % self.size == 0:
            each = size // self.size
            return tuple(tuple(range(k * each, (k + 1) * each)) for k in range(self.size))
        given = part.positions or ()
        if len(given) != self.size or any(not 0 <= place < size for channel in given for place in channel):
            raise UserError(
                f"channel_groups of {type(network).__name__} must have positions below {size} of {self.size} channels "
                f"for the axis {part.axis} of {part.layer}, got others: correct the part"
            )
        return given

    def counted_axes(self, network: nn.Module) -> list[tuple[str, str]]:
        """Return axes that together have each channel of the group once and nothing else."""
        covered: set[int] = set()
        chosen = []
        for (layer, axis), positions in self.positions.items():
            channels = {k for k, places in enumerate(positions) if places}
            is_whole = sum(map(len, positions)) == len(channels) == axis_size(network.get_submodule(layer), axis)
            if is_whole and not channels & covered:  # an axis that lost all of its channels counts with its first size
                chosen.append((layer, axis))
                covered |= channels
        return chosen


def place_groups(network: nn.Module, groups: Sequence[ChannelGroup]) -> list[PlacedGroup]:
    """Return groups with the positions of their channels in a network.

    Raises:
        UserError: They do not fit the network.
    """
    return [PlacedGroup(network, group) for group in groups]


def declared_groups(network: nn.Module) -> Sequence[ChannelGroup] | None:
    """Return what the method `channel_groups` of a network returns; None without the method.

    Raises:
        UserError: It returns something else.
    """
    method = getattr(network, "channel_groups", None)
    groups = None if method is None else method()
    if groups is not None and not all(isinstance(group, ChannelGroup) for group in groups):
        raise UserError(
            f"channel_groups of {type(network).__name__} must return a list of dasc.networks.ChannelGroup or None, "
            "got other objects: correct the method"
        )
    return groups


def with_prefix(prefix: str, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """Return the groups of a part of a network, with the names that its layers have in the network."""
    return [
        ChannelGroup(tuple(Part(f"{prefix}.{part.layer}", part.axis, part.positions) for part in group.parts))
        for group in groups
    ]


Kept = Mapping[str, Mapping[str, list[int]]]
"""Positions that are kept, as plain data: by the name of a layer, then by its axis."""


def kept_positions(network: nn.Module, groups: Sequence[PlacedGroup], channels: Sequence[Sequence[int]]) -> Kept:
    """Return the positions that are kept in all layers that lose channels.

    Args:
        network: The network.
        groups: The groups.
        channels: The channels of each group that are kept.
    """
    removed: dict[tuple[str, str], set[int]] = {}
    for group, kept in zip(groups, channels, strict=True):
        gone = set(range(group.size)) - set(kept)
        for key, positions in group.positions.items():
            removed.setdefault(key, set()).update(place for channel in gone for place in positions[channel])
    found: dict[str, dict[str, list[int]]] = {}
    for (layer, axis), places in removed.items():
        if places:
            size = axis_size(network.get_submodule(layer), axis)
            found.setdefault(layer, {})[axis] = [place for place in range(size) if place not in places]
    return found
