"""Selection of the channels that a network keeps."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from dasc.errors import UserError, one_line
from dasc.networks import Kept, PlacedGroup, channel_groups, kept_positions, place_groups
from dasc.pruning.channels.criterion import ChannelCriterion
from dasc.pruning.channels.removal import remove_channels


def select_channels(
    network: nn.Module,
    criterion: ChannelCriterion,
    share: float,
    image_size: tuple[int, int],
    skip: Sequence[str] = (),
) -> Kept:
    """Return the positions that layers keep where a share of the original channels is removed.

    Args:
        network: The network.
        criterion: Selects the channels.
        share: The share, in [0, 1), with the channels that were removed before.
        image_size: Height and width of the images.
        skip: Names of layers that keep the channels they return; a name covers all below it.

    Raises:
        UserError: There are no such channels, they cannot be found, or a layer would have none left.
    """
    placed = place_groups(network, channel_groups(network, image_size))
    groups = [group for group in placed if not _is_skipped(group, skip)]
    if not groups:
        raise UserError(
            f"channels must be 0 for {type(network).__name__} with skip {', '.join(skip)}, which covers all layers "
            "whose channels can be removed: leave the column or a name in skip out"
        )
    return kept_positions(network, groups, criterion.keep(network, groups, share))


def check_removal(
    network: nn.Module,
    criterion: ChannelCriterion,
    share: float,
    image_size: tuple[int, int],
    skip: Sequence[str] = (),
) -> None:
    """Check that a share of the channels of a network can be removed; the network does not change.

    Args:
        network: The network.
        criterion: As for `select_channels`.
        share: As for `select_channels`.
        image_size: As for `select_channels`.
        skip: As for `select_channels`.

    Raises:
        UserError: It cannot.
    """
    shadow = copy.deepcopy(network).cpu()
    remove_channels(shadow, select_channels(shadow, criterion, share, image_size, skip), share)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            shadow.eval()(torch.zeros(1, 3, *image_size))
    except Exception as error:  # of the network
        raise UserError(
            f"channels must be 0 for {type(network).__name__}, which fails with fewer channels ({one_line(error)}): "
            "leave the column out, or write the network's method "
            "`channel_groups(self) -> list[dasc.networks.ChannelGroup]`"
        ) from None


def _is_skipped(group: PlacedGroup, skip: Sequence[str]) -> bool:
    outputs = [name for name, axis in group.positions if axis == "out"]
    return any(f"{name}.".startswith(f"{layer}.") for name in outputs for layer in skip)
