"""Augmentation settings that may change during a training."""

from dataclasses import dataclass
from typing import Any

from dasc.errors import UserError
from dasc.stages import Constant, Magnitude, Schedule, parse_schedule


@dataclass
class AugmentationState:
    """Augmentation settings that callbacks and modules write; a new value is used from the next batch on."""

    magnitude: Schedule | Magnitude = "none"
    """RandAugment's M: 0..30, `none`, `random`, or a schedule over the epochs of the training.

    `MagnitudeDecay` writes the value of each epoch at its start.
    """
    views: int = 1
    """Augmented views of each training image; a module that selects one of them, `DistilledClassifier`, sets it."""


def parse_magnitude(given: Any) -> Schedule:
    """Return the schedule that a row of the stage table would have.

    Args:
        given: A schedule, or a cell such as 0..30, `none`, `random` or `[a, b]`.

    Raises:
        UserError: It is another value.
    """
    schedule = given if isinstance(given, Schedule) else parse_schedule(given)
    if schedule is None:
        shown = list(given) if isinstance(given, tuple) else given
        raise UserError(f"data.magnitude must be 0..30, none, random or [a, b], got {shown}")
    return schedule


def magnitude_at(magnitude: Schedule | Magnitude, epoch: int, epochs: int | None) -> Magnitude:
    """Return M in an epoch.

    Args:
        magnitude: The schedule, or M itself.
        epoch: The epoch, from 0.
        epochs: Epochs of the training; None if the number is not known.

    Raises:
        UserError: M is not constant and the number of epochs is not known.
    """
    if not isinstance(magnitude, Schedule):
        return magnitude
    if epochs is None and not isinstance(magnitude, Constant):
        raise UserError(f"trainer.max_epochs must be set for data.magnitude {magnitude.dump()}, which changes with it")
    return magnitude.at(epoch, epochs or 1)
