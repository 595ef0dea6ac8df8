"""The structure that columns of the table give to a network, such as auxiliary blocks."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from dasc.stages.columns import at_boundary
from dasc.stages.table import Stage


def structure_of(network: nn.Module) -> dict[str, Any]:
    """Return, as plain data by column, the structure that a network has."""
    found = {column.name: column.observe(network) for column in at_boundary()}
    return {name: structure for name, structure in found.items() if structure is not None}


def restore_structure(network: nn.Module, recorded: Mapping[str, Any]) -> None:
    """Give a network the structure that `structure_of` returned; other keys of `recorded` are ignored."""
    for column in at_boundary():
        column.restore(network, recorded.get(column.name))


def with_structure(network: nn.Module, row: Stage) -> nn.Module:
    """Return a network in the structure of a stage: the network itself if it has it, otherwise a copy.

    Raises:
        UserError: The network cannot have it.
    """
    changed = copy.deepcopy(network)
    row.apply(changed)
    return network if structure_of(changed) == structure_of(network) else changed
