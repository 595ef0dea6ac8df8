"""Callbacks of Lightning that a training refuses; docs/trainer.md lists them with those that work."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from dasc.callbacks.averaging import WeightEMA
from dasc.errors import UserError
from dasc.importing import import_object

REFUSED: dict[type[Callback], str] = {
    BaseFinetuning: "it adds parameter groups that have no learning rate in the table of stages: "
    "freeze weights in the network's constructor",
    BatchSizeFinder: "data.batch_size is part of the recipe: set it",
    GradientAccumulationScheduler: "it changes the number of images per optimizer step: "
    "set trainer.accumulate_grad_batches",
    LearningRateFinder: "the table of stages sets the learning rate: set model.optimizer.lr or the column lr",
    OnExceptionCheckpoint: "a later run would resume from its file without being told to: "
    "last.ckpt holds the last complete epoch, and ModelCheckpoint saves within epochs",
    SpikeDetection: "it waits for the device at every step, and its batch numbers mean nothing in shuffled epochs: "
    "a run stops by itself when its loss is not finite",
    Timer: "it cannot be saved in config.yaml: set trainer.max_time",
    WeightAveraging: "it averages pruning masks and fails when blocks are dropped: "
    "use WeightEMA, which keeps masks and restarts at stage boundaries",
    StochasticWeightAveraging: "it replaces the learning rate of stages and averages across stage boundaries: "
    "use WeightEMA",
    ModelPruning: "set the column sparsity of stages instead",
}
"""Reasons by class; subclasses are refused for the same reason."""

ACCEPTED: tuple[type[Callback], ...] = (WeightEMA,)
"""Subclasses of refused classes that may be used."""


def check_callbacks(classes: Iterable[type]) -> None:
    """Check that a training may use callbacks of these classes.

    Raises:
        UserError: One contradicts the table of stages, and what to use instead.
    """
    for given in classes:
        for refused, reason in REFUSED.items():
            if issubclass(given, refused) and not issubclass(given, ACCEPTED):
                raise UserError(f"trainer.callbacks must not contain {given.__name__}: {reason}")


def class_of(config: Any) -> type:
    """Return the class of a callback in a parsed config."""
    found = import_object(config.class_path)
    return found if isinstance(found, type) else object  # class_path may name a function that returns a callback
