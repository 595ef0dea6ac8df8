"""The column `auxiliary`: additional blocks in the network during a stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dasc.networks import auxiliary_blocks, set_auxiliary_blocks
from dasc.stages.column import Column, PlanFacts, StageFacts, is_integer, scaled_count


class Auxiliary(Column):
    """Number of additional blocks, at least 0; it never rises, and the last blocks are dropped as the stage starts.

    References:
        Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232, section IV-C2.
    """

    name = "auxiliary"
    title = "layers"
    default = 0
    remedy = "write a whole number, at least 0"
    default_text = "0"
    help = "auxiliary blocks"
    callback = "dasc.callbacks.auxiliary.DropAuxiliaryLayers"
    changes_network = True
    csv_names = ("auxiliary", "layers")

    def is_valid(self, value: Any) -> bool:
        """Return whether it is an integer of at least 0."""
        return is_integer(value) and value >= 0

    def conflict(self, before: Any, value: Any) -> str:
        """Refuse more blocks than before."""
        if value <= before:
            return ""
        return f"auxiliary {value} is over the {before} of the stage before it: blocks are dropped, never added"

    def scaled(self, value: Any, factor: float) -> int:
        """Return the blocks under `--auxiliary_scale`."""
        return scaled_count(value, factor)

    def before_first(self, value: Any) -> int:
        """Return the blocks of the first stage: the network starts with them."""
        return int(value)

    def apply(self, network: nn.Module, value: Any) -> None:
        """Give a network its blocks."""
        set_auxiliary_blocks(network, value)

    def observe(self, network: nn.Module) -> int:
        """Return the blocks that a network has."""
        return auxiliary_blocks(network)

    def plan_text(self, value: Any, facts: PlanFacts) -> str:
        """Return the layers of the network and of the blocks."""
        return facts.layers

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the blocks, and all layers."""
        return {"auxiliary": value, "layers": facts.sizes.layers}

    def report_text(self, row: Mapping[str, Any]) -> str:
        """Return all layers."""
        return str(row.get("layers"))

    def is_in_report(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether a stage had blocks."""
        return any(row.get("auxiliary", 0) for row in rows)


COLUMN = Auxiliary()
