"""Rank, device and epoch of this process, from its trainer."""

from typing import Any, NamedTuple

import torch


class Process(NamedTuple):
    """One process of a training or scoring; the defaults are those without a trainer."""

    rank: int = 0
    """Number of the process."""
    world_size: int = 1
    """Number of processes."""
    device: torch.device = torch.device("cpu")
    """Device of the network."""
    epoch: int = 0
    """Current epoch, from 0."""
    epochs: int | None = 1
    """Epochs of the training; None if the trainer has no limit of epochs."""


def process_of(trainer: Any) -> Process:
    """Return the process of a trainer of Lightning, or of None."""
    if trainer is None:
        return Process()
    epochs = getattr(trainer, "max_epochs", None)
    known = epochs is not None and epochs > 0
    return Process(
        trainer.global_rank,
        trainer.world_size,
        trainer.strategy.root_device,
        trainer.current_epoch,
        epochs if known else None,
    )


def network_dtype(trainer: Any) -> torch.dtype:
    """Return the dtype that the precision plugin of a trainer gives to floating-point inputs."""
    plugin = getattr(trainer, "precision_plugin", None)
    dtype: torch.dtype = torch.float32 if plugin is None else plugin.convert_input(torch.zeros(())).dtype
    return dtype
