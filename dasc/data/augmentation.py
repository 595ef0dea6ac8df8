"""Augmentation settings that may change during a training."""

from collections.abc import Sequence
from dataclasses import dataclass

from dasc.errors import UserError
from dasc.stages import Magnitude, Stage, Stages

MagnitudeRange = Magnitude | tuple[int, int]
"""A magnitude, or `(a, b)`: linear from a in the first epoch to b in the last one."""


@dataclass
class AugmentationState:
    """Augmentation settings that callbacks and modules write; a new value is used from the next batch on."""

    magnitude: MagnitudeRange = "none"
    """RandAugment's M: 0..30, `none`, `random`, or `(a, b)`, linear over the epochs of the training.

    `MagnitudeDecay` writes the value of each epoch at its start.
    """
    views: int = 1
    """Augmented views of each training image; a module that selects one of them, `DistilledClassifier`, sets it."""


def parse_magnitude(given: Magnitude | Sequence[int]) -> MagnitudeRange:
    """Return a magnitude as a row of the stage table has it.

    Args:
        given: 0..30, `none`, `random` or `[a, b]`.

    Raises:
        UserError: It is another value.
    """
    value = tuple(given) if isinstance(given, list | tuple) else given
    try:
        return Stage(epochs=1, magnitude=value).magnitude  # type: ignore[arg-type]
    except UserError:
        shown = list(value) if isinstance(value, tuple) else value
        raise UserError(f"data.magnitude must be 0..30, none, random or [a, b], got {shown}") from None


def magnitude_at(magnitude: MagnitudeRange, epoch: int, epochs: int | None) -> Magnitude:
    """Return M in an epoch: constant, or floor(a + (b - a) epoch / (epochs - 1) + 1/2) for `(a, b)`.

    Args:
        magnitude: The magnitude.
        epoch: The epoch, from 0.
        epochs: Epochs of the training; None if the number is not known.

    Raises:
        UserError: The magnitude is `(a, b)` and the number of epochs is not known.
    """
    if not isinstance(magnitude, tuple):
        return magnitude
    if epochs is None:
        raise UserError(
            f"trainer.max_epochs must be set for data.magnitude {list(magnitude)}, which is linear over all epochs"
        )
    return Stages([Stage(epochs, magnitude=magnitude)]).magnitude(epoch)
