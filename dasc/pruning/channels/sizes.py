"""Sizes of the layers of a network that has lost channels, as plain data, and the network of such sizes."""

from collections.abc import Mapping
from reprlib import repr as shorten
from typing import Any

import torch
from torch import nn

from dasc.errors import UserError
from dasc.networks import PlacedGroup, axes_of, axis_size, set_axis_size, tensors_of

_RECORD = "_channels"
"""Attribute of a network that has lost channels: the share, and the sizes of its layers before."""

_REMEDY = "the file is damaged or of another network, use another one"

Sizes = dict[str, dict[str, int]]
"""Sizes by the name of a layer, then by its axis."""


def removed_share(network: nn.Module) -> float:
    """Return the share of channels that a network has lost, in [0, 1)."""
    return float(_record(network)["share"])


def observe_sizes(network: nn.Module) -> dict[str, Any] | None:
    """Return, as plain data, what `restore_sizes` needs; None for a network that has lost no channels."""
    record = _record(network)
    layers = dict(network.named_modules())
    sizes = {
        name: {axis: axis_size(layers[name], axis) for axis in axes}
        for name, axes in record["original"].items()
        if name in layers  # auxiliary blocks are dropped
    }
    return {"share": record["share"], "sizes": sizes} if record["share"] else None


def restore_sizes(network: nn.Module, recorded: Mapping[str, Any] | None) -> None:
    """Give the layers of a network the sizes that `observe_sizes` returned.

    Tensors that become larger are filled with 0, and those that become smaller are cut. `recorded` is checked before
    the network changes: no layer becomes larger than it was before channels were removed.

    Args:
        network: The network, on any device, `meta` included; layers that are not in `recorded` get their original
            sizes.
        recorded: The sizes, as from a checkpoint or parsed JSON; None for those of a network that has lost no channels.

    Raises:
        UserError: `recorded` is not of this form, or not of this network.
    """
    share, sizes = (0.0, {}) if recorded is None else _read(network, recorded)
    note_removal(network, share, sizes)
    layers = dict(network.named_modules())
    for name, axes in _record(network)["original"].items():
        for axis, original in axes.items() if name in layers else ():
            _resize(layers[name], axis, sizes.get(name, {}).get(axis, original))


def _read(network: nn.Module, recorded: object) -> tuple[float, Sizes]:
    """Return the share and the sizes of `observe_sizes`.

    Raises:
        UserError: They are malformed, or not of this network.
    """
    if not isinstance(recorded, Mapping) or recorded.keys() != {"share", "sizes"}:
        raise UserError(f"recorded channels must be a share and sizes, got {shorten(recorded)}: {_REMEDY}")
    share, sizes = recorded["share"], recorded["sizes"]
    if not isinstance(share, float) or not 0 < share < 1:
        raise UserError(f"the share of recorded channels must be a number in (0, 1), got {shorten(share)}: {_REMEDY}")
    layers = dict(network.named_modules())
    for name, axes in sizes.items() if isinstance(sizes, Mapping) else [("", sizes)]:
        known = axes_of(layers[name]) if name in layers else {}
        if not isinstance(axes, Mapping) or not known.keys() >= axes.keys() or not axes:
            raise UserError(
                f"recorded channels must be of layers of {type(network).__name__}, got {shorten(axes)} for "
                f"{shorten(name)}: {_REMEDY}"
            )
        for axis, size in axes.items():
            _check_size(network, name, axis, size)
    return share, {name: dict(axes) for name, axes in sizes.items()}


def _check_size(network: nn.Module, layer: str, axis: str, size: object) -> None:
    least = 1 if axes_of(network.get_submodule(layer))[axis].tensors else 0  # padding may become 0
    most = original_size(network, layer, axis)
    if isinstance(size, bool) or not isinstance(size, int) or not least <= size <= most:
        raise UserError(
            f"recorded channels of {layer} ({axis}) must be from {least} to {most}, got {shorten(size)}: {_REMEDY}"
        )


def note_removal(network: nn.Module, share: float, changed: Mapping[str, Mapping[str, Any]]) -> None:
    """Record the share of channels that a network has lost, and the sizes of layers before they change.

    Args:
        network: The network, whose layers still have their sizes.
        share: The share, in [0, 1).
        changed: The layers that change, by name, with their axes.
    """
    record = _record(network)
    original = {name: dict(axes) for name, axes in record["original"].items()}
    for name, axes in changed.items():
        sizes = original.setdefault(name, {})
        for axis in axes:
            sizes.setdefault(axis, axis_size(network.get_submodule(name), axis))
    setattr(network, _RECORD, {"share": share, "original": original})


def original_size(network: nn.Module, layer: str, axis: str) -> int:
    """Return the size of an axis before channels were removed."""
    found: int | None = _record(network)["original"].get(layer, {}).get(axis)
    return axis_size(network.get_submodule(layer), axis) if found is None else found


def original_channels(network: nn.Module, group: PlacedGroup) -> int:
    """Return how many channels a group had before channels were removed."""
    return max(sum(original_size(network, *key) for key in group.counted_axes(network)), group.size)


def _record(network: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = getattr(network, _RECORD, {"share": 0.0, "original": {}})
    return found


def _resize(layer: nn.Module, axis: str, size: int) -> None:
    if axis_size(layer, axis) == size:
        return
    for name, (tensor, dim) in tensors_of(layer, axis).items():
        old = tensor.detach().narrow(dim, 0, min(size, tensor.shape[dim]))
        more = [*tensor.shape[:dim], size - old.shape[dim], *tensor.shape[dim + 1 :]]
        set_tensor(layer, name, torch.cat([old, old.new_zeros(more)], dim))
    set_axis_size(layer, axis, size)


def set_tensor(layer: nn.Module, name: str, value: torch.Tensor) -> None:
    """Set a parameter, as a new object, or a buffer of a layer."""
    old = getattr(layer, name)
    setattr(layer, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value)
