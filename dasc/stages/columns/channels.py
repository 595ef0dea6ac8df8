"""The column `channels`: the share of channels that the network has lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dasc.pruning.channels import observe_sizes, restore_sizes
from dasc.stages.column import Column, StageFacts, is_number


class Channels(Column):
    """Share in [0, 1) of the channels of each layer that are removed as the stage starts; it never falls.

    The share is of the original channels: rows with 0.2 and 0.5 remove as many channels as a row with 0.5.

    References:
        Fang, Ma, Song, Mi, Wang, https://arxiv.org/abs/2301.12900.
    """

    name = title = "channels"
    default = 0.0
    remedy = "write a number from 0 to below 1"
    default_text = "0"
    help = "channels, the share removed, 0 to below 1"
    callback = "dasc.callbacks.channels.RemoveChannels"
    capability = "prunes"
    capability_error = "does not prune: set model to PrunedClassifier"
    changes_network = True
    csv_if_used = True

    def is_valid(self, value: Any) -> bool:
        """Return whether it is a number in [0, 1)."""
        return is_number(value) and 0 <= value < 1

    def conflict(self, before: Any, value: Any) -> str:
        """Refuse a lower share than before."""
        if value >= before:
            return ""
        return f"channels {value} is below the {before} of the stage before it: removed channels do not come back"

    def observe(self, network: nn.Module) -> dict[str, Any] | None:
        """Return the sizes of the layers that have lost channels; None if none have."""
        return observe_sizes(network)

    def restore(self, network: nn.Module, recorded: Any) -> None:
        """Give the layers of a network the sizes that `observe` returned."""
        restore_sizes(network, recorded)

    def preview(self, network: nn.Module, value: Any, module: Any, image_size: tuple[int, int]) -> None:
        """Remove the channels that the module would remove with these weights."""
        if value:
            module.preview_channels(network, value, image_size)

    def plan_note(self, values: Sequence[Any], module: Any) -> str:
        """Return what a share of channels is of the parameters, and whether sizes are estimated."""
        if not any(values):
            return ""
        note = "where a share c of the channels is removed, parameters fall by about 1 - (1 - c)^2"
        if module.channel_criterion.scope == "layer":
            return note
        return f"{note}; with scope global, params and MACs are estimated by the weights before training"

    def text(self, value: Any) -> str:
        """Return the share in percent."""
        return f"{value:.1%}"

    def progress(self, value: Any) -> str:
        """Return the share."""
        return f"channels {value:g}" if value else ""

    def is_curve(self, values: Sequence[Any]) -> bool:
        """Return whether channels are removed."""
        return any(value > 0 for value in values)

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the share, if there is one."""
        return {"channels": value} if value else {}

    def report_text(self, row: Mapping[str, Any]) -> str:
        """Return the share in percent."""
        return self.text(float(row.get("channels") or 0))


COLUMN = Channels()
