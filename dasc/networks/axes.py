"""Channel axes of layers: which attributes and tensors of a layer change with its number of channels."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Axis(NamedTuple):
    """An axis of channels of a layer.

    Args:
        attributes: Attributes of the layer that are the size of the axis.
        tensors: Parameters and buffers that have the axis, each with its dimension.
    """

    attributes: tuple[str, ...]
    tensors: tuple[tuple[str, int], ...] = ()


_CONVOLUTION = {
    "out": Axis(("out_channels",), (("weight", 0), ("bias", 0))),
    "in": Axis(("in_channels",), (("weight", 1),)),
}
_DEPTHWISE = {"out": Axis(("out_channels", "in_channels", "groups"), (("weight", 0), ("bias", 0)))}
_LINEAR = {
    "out": Axis(("out_features",), (("weight", 0), ("bias", 0))),
    "in": Axis(("in_features",), (("weight", 1),)),
}
_BATCH_NORM = {
    "out": Axis(("num_features",), (("weight", 0), ("bias", 0), ("running_mean", 0), ("running_var", 0))),
}


def axes_of(layer: nn.Module) -> Mapping[str, Axis]:
    """Return the axes of a layer by name: `out`, and `in` where it is another one; empty for other kinds of layers.

    Known are convolutions, without groups or depthwise, linear layers and BatchNorm. A layer of another class may have
    an attribute `channel_axes`, a mapping of the same form.
    """
    own: Mapping[str, Axis] | None = getattr(layer, "channel_axes", None)
    if own is not None:
        return own
    if isinstance(layer, _CONVOLUTIONS):
        if layer.groups == 1:
            return _CONVOLUTION
        return _DEPTHWISE if layer.groups == layer.in_channels == layer.out_channels else {}
    if isinstance(layer, nn.Linear):
        return _LINEAR
    return _BATCH_NORM if isinstance(layer, _BatchNorm) else {}


def axis_size(layer: nn.Module, axis: str) -> int:
    """Return how many positions an axis has."""
    return int(getattr(layer, axes_of(layer)[axis].attributes[0]))


def set_axis_size(layer: nn.Module, axis: str, size: int) -> None:
    """Set the attributes of an axis; its tensors stay as they are."""
    for name in axes_of(layer)[axis].attributes:
        setattr(layer, name, size)


def tensors_of(layer: nn.Module, axis: str) -> dict[str, tuple[Tensor, int]]:
    """Return the tensors of a layer that have an axis, by name, each with the dimension of the axis."""
    found: dict[str, Any] = {name: (getattr(layer, name), dim) for name, dim in axes_of(layer)[axis].tensors}
    return {name: (tensor, dim) for name, (tensor, dim) in found.items() if tensor is not None}
