"""Auxiliary blocks: more layers after a network's last ones, to be dropped later.

The one place where they are attached. They stand under the name `auxiliary` in a `nn.Sequential` of the network, so
that every other key of its state_dict is the plain network's, with them and without.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dasc.errors import UserError

NAME = "auxiliary"


@dataclass(frozen=True)
class AuxiliaryPlace:
    """Where a network takes auxiliary blocks, and how one is made: what its method `auxiliary_place` returns.

    Args:
        parent: The layers among which the blocks stand.
        block: Makes one block, which maps the output of the layer before it to the same shape.
        before: How many of the parent's own layers come after the blocks.
    """

    parent: nn.Sequential
    block: Callable[[], nn.Module]
    before: int = 0


def auxiliary_place(network: nn.Module) -> AuxiliaryPlace:
    """Ask a network for its place for auxiliary blocks.

    Raises:
        UserError: It has none; the message names the method to write.
    """
    method = getattr(network, "auxiliary_place", None)
    if method is None:
        raise UserError(
            f"{type(network).__name__} has no place for auxiliary blocks: write its method "
            "`auxiliary_place(self) -> dasc.networks.AuxiliaryPlace`, or leave the column auxiliary out"
        )
    place = method()
    if not isinstance(place, AuxiliaryPlace):
        raise UserError(
            f"auxiliary_place of {type(network).__name__} returns a {type(place).__name__}: "
            "return a dasc.networks.AuxiliaryPlace"
        )
    return place


def auxiliary_blocks(network: nn.Module) -> int:
    """Return how many auxiliary blocks a network has now."""
    try:
        blocks = getattr(auxiliary_place(network).parent, NAME, None)
    except UserError:
        return 0
    return 0 if blocks is None else len(blocks)


def set_auxiliary_blocks(network: nn.Module, count: int) -> None:
    """Bring a network to `count` auxiliary blocks: the last are dropped, or new ones come after those that are there.

    Without any, the network is the plain one: the same modules, keys and parameters.

    Raises:
        UserError: There are to be blocks, and the network has no place for them.
    """
    present = auxiliary_blocks(network)
    if count == present:
        return
    place = auxiliary_place(network)
    blocks = getattr(place.parent, NAME, None)
    if blocks is None:
        blocks = _insert(place)
    while len(blocks) > count:
        del blocks[-1]
    while len(blocks) < count:
        blocks.append(_block(place))
    if count == 0:
        delattr(place.parent, NAME)


def _insert(place: AuxiliaryPlace) -> nn.Sequential:
    """Register an empty `auxiliary` among the parent's layers; those after it keep their names."""
    blocks = nn.Sequential()
    children = list(place.parent.named_children())
    after = children[len(children) - place.before :]
    for name, _ in after:
        delattr(place.parent, name)
    for name, child in [(NAME, blocks), *after]:
        place.parent.add_module(name, child)
    return blocks


def _block(place: AuxiliaryPlace) -> nn.Module:
    """Make a block as the parent's other layers are: on their device, training or not."""
    block = place.block().train(place.parent.training)
    parameter = next(place.parent.parameters(), None)
    return block if parameter is None else block.to(parameter.device, parameter.dtype)
