"""The table of stages: the values of all columns in every stage of a run."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from torch import nn

from dasc.errors import UserError, unknown_name
from dasc.stages.column import Column, PlanSizes, is_number
from dasc.stages.columns import COLUMNS, in_order


class Stage:
    """A row: a value for each column, as an attribute of the name of the column.

    Args:
        given: Values by column, in Python or as in YAML; other columns have their defaults.

    Raises:
        UserError: A column is unknown or required, or a value is out of range.
    """

    __slots__ = ("_values",)

    def __init__(self, **given: Any) -> None:
        for name in given:
            if name not in COLUMNS:
                raise UserError(unknown_name("column", name, COLUMNS))
        self._values = {column.name: _value_of(column, given) for column in in_order()}

    @classmethod
    def parse(cls, row: Any) -> "Stage":
        """Read a row as in YAML, where an empty cell is an error."""
        if not isinstance(row, dict):
            raise UserError(f"a row is written {{epochs: 10, sparsity: 0.2, magnitude: 12}}, not {row!r}")
        for key, value in row.items():
            if key not in COLUMNS:
                raise UserError(unknown_name("column", str(key), COLUMNS))
            if value is None:
                column = COLUMNS[key]
                rest = f", or leave it out for {column.default_text}" if column.default_text else ""
                raise UserError(f"{key} is empty: {column.remedy}{rest}")
        return cls(**row)

    def dump(self) -> dict[str, Any]:
        """Return the row as in YAML, without the columns that have their defaults."""
        kept = {name: value for name, value in self.items() if COLUMNS[name].required or self._differs(name)}
        return {name: COLUMNS[name].dump(value) for name, value in kept.items()}

    def items(self) -> Iterator[tuple[str, Any]]:
        """Return the values by column, in the order of tables."""
        return iter(self._values.items())

    def replace(self, **changes: Any) -> "Stage":
        """Return the row with other values."""
        return Stage(**self._values | changes)

    def apply(self, network: nn.Module) -> None:
        """Give a network the structure that it has in this stage.

        Raises:
            UserError: The network cannot have it.
        """
        for name, value in self.items():
            COLUMNS[name].apply(network, value)

    def shrink(self, sizes: PlanSizes) -> PlanSizes:
        """Return the sizes that a plan shows, given those of the structure of this stage."""
        for name, value in self.items():
            sizes = COLUMNS[name].shrink(value, sizes)
        return sizes

    def _differs(self, name: str) -> bool:
        return bool(self._values[name] != COLUMNS[name].default)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"a row has no column {name}")
        return self._values[name]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self._values == other._values

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"Stage({self.dump()})"


class Stages:
    """The table: rows in order, checked as a whole.

    Args:
        rows: The stages, at least one. Columns may restrict a value by the row before: sparsity never falls.

    Raises:
        UserError: The table is empty, or a row contradicts the one before it.
    """

    def __init__(self, rows: list[Stage]) -> None:
        if not rows:
            raise UserError("the table of stages is empty: write at least one row, such as {epochs: 10}")
        for number, (before, row) in enumerate(pairwise(rows), start=2):
            for name, value in row.items():
                conflict = COLUMNS[name].conflict(before[name], value)
                if conflict:
                    raise UserError(f"stage {number}: {conflict}")
        self.rows = tuple(rows)
        self.starts = tuple(sum(row.epochs for row in rows[:k]) for k in range(len(rows)))

    @classmethod
    def parse(cls, rows: Any) -> "Stages":
        """Read a table as in YAML; errors name the row by its number, from 1."""
        if isinstance(rows, Stages):
            return rows
        if rows is None:
            raise UserError("stages is missing: give a table, as configs/prune_decay.yaml has one")
        if not isinstance(rows, list):
            raise UserError(f"stages is written as a list of rows, such as [{{epochs: 10}}], not {rows!r}")
        stages = []
        for number, row in enumerate(rows, start=1):
            try:
                stages.append(Stage.parse(row))
            except UserError as error:
                raise UserError(f"stage {number}: {error}") from None
        return cls(stages)

    def dump(self) -> list[dict[str, Any]]:
        """Return the table as in YAML."""
        return [row.dump() for row in self.rows]

    def scaled(self, epochs_scale: float = 1.0, auxiliary_scale: float = 1.0) -> "Stages":
        """Return the table with every row's epochs and auxiliary blocks times a factor.

        They are rounded half up; where there is one it stays at least 1.
        """
        scales = {"epochs": epochs_scale, "auxiliary": auxiliary_scale}
        for name, scale in scales.items():
            if not is_number(scale) or not 0 < scale < math.inf:
                raise UserError(f"{name}_scale is {scale}: write a number over 0")
        return Stages(
            [row.replace(**{n: COLUMNS[n].scaled(row[n], scale) for n, scale in scales.items()}) for row in self.rows]
        )

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages."""
        return int(self.starts[-1] + self.rows[-1].epochs)

    def stage_at(self, epoch: int) -> int:
        """Return the index of the stage that `epoch` (from 0) belongs to; the last one for all later epochs."""
        return max(k for k, start in enumerate(self.starts) if start <= max(epoch, 0))

    def starts_at(self, epoch: int) -> bool:
        """Return whether `epoch` is the first of a stage."""
        return epoch in self.starts

    def ends_at(self, epoch: int) -> bool:
        """Return whether `epoch` is the last of a stage."""
        return epoch + 1 in self.starts or epoch + 1 == self.total_epochs

    def value(self, name: str, epoch: int) -> Any:
        """Return the value of a column in an epoch (from 0)."""
        k = self.stage_at(epoch)
        row = self.rows[k]
        return COLUMNS[name].at(row[name], epoch - self.starts[k], row.epochs)

    def column(self, name: str) -> list[Any]:
        """Return the values of a column in all epochs."""
        return [self.value(name, epoch) for epoch in range(self.total_epochs)]

    def check_module(self, module: object) -> None:
        """Check that a module can apply all columns that the table uses.

        Raises:
            UserError: It cannot apply one.
        """
        for column in in_order():
            used = [row[column.name] for row in self.rows if row[column.name] != column.default]
            if used and column.capability and not getattr(module, column.capability, False):
                kind = type(module).__name__
                raise UserError(f"stages ask for {column.name} {used[-1]}, but {kind} {column.capability_error}")

    def changes_network_at(self, epoch: int) -> bool:
        """Return whether `epoch` is the first of a stage with another network than before.

        Columns such as sparsity and auxiliary change it. Before the first stage, the network is not pruned.
        """
        if not self.starts_at(epoch):
            return False
        k = self.stage_at(epoch)
        for name, value in self.rows[k].items():
            column = COLUMNS[name]
            before = self.rows[k - 1][name] if k > 0 else column.before_first(value)
            if column.changes_network and value != before:
                return True
        return False

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Stage:
        return self.rows[index]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stages) and self.rows == other.rows

    def __hash__(self) -> int:
        return hash(self.rows)

    def __repr__(self) -> str:
        return f"Stages({self.dump()})"


def _value_of(column: Column, given: dict[str, Any]) -> Any:
    if column.name not in given:
        if column.required:
            raise UserError(column.required)
        return column.default
    raw = given[column.name]
    value = column.parse(raw)
    if (value is column.default and not column.required) or column.is_valid(value):
        return value
    raise UserError(f"{column.name} is {list(raw) if isinstance(raw, tuple) else raw}: {column.remedy}")
