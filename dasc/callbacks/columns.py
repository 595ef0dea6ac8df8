"""The callbacks that apply the columns of the table at the start of a stage."""

from collections.abc import Callable

from lightning.pytorch import Callback

from dasc.importing import import_object
from dasc.modules import Classifier
from dasc.stages import Column, Stages, at_boundary


def column_callbacks(stages: Stages, module: Classifier) -> list[Callback]:
    """Return the callbacks of all columns that a module can apply, in the order of a stage boundary.

    Args:
        stages: The table of stages.
        module: The module that is trained.
    """
    columns = [column for column in at_boundary() if column.callback]
    return [
        _callback_of(column)(stages)
        for column in columns
        if not column.capability or getattr(module, column.capability, False)
    ]


def _callback_of(column: Column) -> Callable[[Stages], Callback]:
    found: Callable[[Stages], Callback] = import_object(column.callback)
    return found
