"""Position of a training within its epoch, and how Lightning's loops continue from there.

Lightning resumes between two epochs by itself. Within an epoch it loses what its counters do not tell, such as a
validation that was due, so `continue_epoch` rewrites them into one of the states that it resumes correctly.
"""

from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer


class Position(NamedTuple):
    """Where a training is."""

    epoch: int
    """The epoch in progress, or the last one if none is (from 0)."""
    batches: int
    """Batches of that epoch that are trained."""
    batches_per_epoch: int
    closed: bool
    """Whether the epoch is over: all batches, validation and the hooks at its end."""
    between_steps: bool
    """Whether no gradients are waiting for an optimizer step."""


def position(trainer: Trainer) -> Position:
    """Return the position of a fit."""
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress.current  # declared as a tracker with fewer counts
    batches: Any = loop.epoch_loop.batch_progress.current
    done, whole = batches.processed, int(trainer.num_training_batches)
    return Position(
        epoch=max(epochs.ready - 1, 0),
        batches=done,
        batches_per_epoch=whole,
        closed=epochs.processed == epochs.ready and done == whole,
        between_steps=batches.ready == done and (done % trainer.accumulate_grad_batches == 0 or done == whole),
    )


def epoch_is_complete(trainer: Trainer) -> bool:
    """Return whether all batches of the current epoch are trained: `max_time` or early stopping may cut it short."""
    return trainer.fit_loop.epoch_loop.batch_idx + 1 >= trainer.num_training_batches


def steps_per_epoch(trainer: Trainer) -> int:
    """Return the optimizer steps of a whole epoch."""
    return -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)


def continue_epoch(loop: dict[str, Any], epoch: int, batches: int, last: bool, validated: bool) -> None:
    """Rewrite the state of Lightning's fit loop so that it continues within an epoch.

    Args:
        loop: `checkpoint["loops"]["fit_loop"]` of Lightning 2.6, changed in place.
        epoch: The epoch (from 0).
        batches: Batches of it that are trained.
        last: Whether these are all.
        validated: Whether a validation that is due after the last of them is done.
    """
    for counts in (loop["epoch_progress"]["total"], loop["epoch_progress"]["current"]):
        counts.update(ready=epoch + 1, started=epoch + 1, processed=epoch, completed=epoch)
    progress = loop["epoch_loop.batch_progress"]
    for counts, count in ((progress["total"], progress["total"]["processed"]), (progress["current"], batches)):
        counts.update(ready=count, started=count, processed=count, completed=count)
    progress["is_last_batch"] = last
    # as if a validation had been interrupted in its first batch, or none had begun
    validation = loop["epoch_loop.val_loop.batch_progress"]
    begun = 0 if validated else 1
    for counts in (validation["total"], validation["current"]):
        counts.update(ready=begun, started=begun, processed=0, completed=0)
    validation["is_last_batch"] = False


def gather(value: Any) -> list[Any]:
    """Return the values of all processes in the order of their ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
