"""Removal of channels: which ones, the smaller network, and its structure as plain data."""

from dasc.pruning.channels.criterion import ChannelCriterion, ChannelL1
from dasc.pruning.channels.removal import remove_channels
from dasc.pruning.channels.selection import check_removal, select_channels
from dasc.pruning.channels.sizes import observe_sizes, removed_share, restore_sizes

__all__ = (
    "ChannelCriterion",
    "ChannelL1",
    "check_removal",
    "observe_sizes",
    "remove_channels",
    "removed_share",
    "restore_sizes",
    "select_channels",
)
