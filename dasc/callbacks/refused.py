"""Callbacks of Lightning that contradict the table of stages."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelPruning, StochasticWeightAveraging, WeightAveraging

from dasc.callbacks.averaging import WeightEMA
from dasc.errors import UserError

REFUSED: dict[type[Callback], str] = {
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
    module, _, name = config.class_path.rpartition(".")
    found = getattr(import_module(module), name)
    return found if isinstance(found, type) else object  # class_path may name a function that returns a callback
