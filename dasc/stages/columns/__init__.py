"""The columns of the table of stages: one file each, with the column as `COLUMN`."""

from importlib import import_module
from pkgutil import iter_modules

from dasc.stages.column import Column

ORDER = ("epochs", "sparsity", "channels", "magnitude", "lr", "auxiliary")
"""Order of the columns in tables and files; others come after these."""

BOUNDARY = ("auxiliary", "channels", "sparsity", "magnitude")
"""Order in which columns are applied as a stage starts; others come after these.

Blocks are dropped and channels removed before pruning: the target sparsity refers to the weights that remain.
"""


def _place(column: Column, order: tuple[str, ...]) -> tuple[int, str]:
    return (order.index(column.name), "") if column.name in order else (len(order), column.name)


def _found() -> dict[str, Column]:
    columns = [import_module(f"{__name__}.{module.name}").COLUMN for module in iter_modules(__path__)]
    return {column.name: column for column in sorted(columns, key=lambda column: _place(column, ORDER))}


COLUMNS: dict[str, Column] = _found()
"""All columns by name, in the order of tables and files."""


def in_order() -> list[Column]:
    """Return the columns in the order of tables and files."""
    return list(COLUMNS.values())


def at_boundary() -> list[Column]:
    """Return the columns in the order in which they are applied as a stage starts."""
    return sorted(COLUMNS.values(), key=lambda column: _place(column, BOUNDARY))
