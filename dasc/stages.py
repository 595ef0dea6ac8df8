"""The table of stages: how long each stage is, and what state the network and the data are in during it."""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from itertools import pairwise
from typing import Any, Self

from dasc.errors import UserError, one_of

MAX_MAGNITUDE = 30

Magnitude = int | str
"""A bin 0..30, `none` (no RandAugment at all) or `random` (0..30, drawn for each image)."""


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Args:
        epochs: Length of the stage, at least 1.
        sparsity: Share of zeros among the prunable weights, in [0, 1), reached as the stage starts.
        magnitude: RandAugment's M: 0..30, `none`, `random`, or `(a, b)` for a line through the stage.
        auxiliary: Additional blocks in the network during the stage, at least 0.
        lr: Peak learning rate, over 0; None is the optimizer's own.

    Raises:
        UserError: A value is outside its range.
    """

    epochs: int
    sparsity: float = 0.0
    magnitude: Magnitude | tuple[int, int] = "none"
    auxiliary: int = 0
    lr: float | None = None

    def __post_init__(self) -> None:
        if not _is_int(self.epochs) or self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}: write a whole number, at least 1")
        if not _is_number(self.sparsity) or not 0 <= self.sparsity < 1:
            raise UserError(f"sparsity is {self.sparsity}: write a number from 0 to below 1")
        if not _is_magnitude(self.magnitude):
            raise UserError(f"magnitude is {_shown(self.magnitude)}: write 0..30, random, [a, b] or none")
        if not _is_int(self.auxiliary) or self.auxiliary < 0:
            raise UserError(f"auxiliary is {self.auxiliary}: write a whole number, at least 0")
        if self.lr is not None and (not _is_number(self.lr) or not 0 < self.lr < math.inf):
            raise UserError(f"lr is {self.lr}: write a number over 0")

    @classmethod
    def parse(cls, row: Any) -> Self:
        """Read a row as it stands in YAML."""
        if not isinstance(row, dict):
            raise UserError(f"a row is written {{epochs: 10, sparsity: 0.2, magnitude: 12}}, not {row!r}")
        names = [field.name for field in fields(cls)]
        for key, value in row.items():
            if key not in names:
                raise UserError(one_of("column", str(key), names))
            if value is None:
                raise UserError(f"{key} is empty: {_REMEDY[key]}")
        if "epochs" not in row:
            raise UserError("epochs is missing: write how many epochs the stage is long")
        if isinstance(row.get("magnitude"), list):
            row = row | {"magnitude": tuple(row["magnitude"])}
        return cls(**row)

    def dump(self) -> dict[str, Any]:
        """Return the row as it would be written in YAML, without what has its default."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.default is MISSING or self._differs(f.name)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(type(self), name))


class Stages:
    """The table: rows in order, checked as a whole.

    Args:
        rows: The stages, at least one; sparsity never falls and auxiliary never rises from row to row.

    Raises:
        UserError: The table is empty, or a row contradicts the one before it.
    """

    def __init__(self, rows: list[Stage]) -> None:
        if not rows:
            raise UserError("the table of stages is empty: write at least one row, such as {epochs: 10}")
        for number, (before, row) in enumerate(pairwise(rows), start=2):
            if row.sparsity < before.sparsity:
                raise UserError(
                    f"stage {number}: sparsity {row.sparsity} is below the {before.sparsity} of the stage before it: "
                    "pruned weights do not come back"
                )
            if row.auxiliary > before.auxiliary:
                raise UserError(
                    f"stage {number}: auxiliary {row.auxiliary} is over the {before.auxiliary} of the stage before it: "
                    "blocks are dropped, never added"
                )
        self.rows = tuple(rows)
        self.starts = tuple(sum(row.epochs for row in rows[:k]) for k in range(len(rows)))

    @classmethod
    def parse(cls, rows: Any) -> "Stages":
        """Read a table as it stands in YAML; a row that is wrong is named by its number, from 1."""
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
        """Return the table as it would be written in YAML."""
        return [row.dump() for row in self.rows]

    def scaled(self, epochs_scale: float = 1.0, auxiliary_scale: float = 1.0) -> "Stages":
        """Return the table with every row's epochs and auxiliary blocks times a factor.

        They are rounded half up; where there is one it stays at least 1.
        """
        for name, scale in (("epochs_scale", epochs_scale), ("auxiliary_scale", auxiliary_scale)):
            if not _is_number(scale) or not 0 < scale < math.inf:
                raise UserError(f"{name} is {scale}: write a number over 0")
        return Stages(
            [
                replace(row, epochs=_times(row.epochs, epochs_scale), auxiliary=_times(row.auxiliary, auxiliary_scale))
                for row in self.rows
            ]
        )

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages."""
        return self.starts[-1] + self.rows[-1].epochs

    def stage_at(self, epoch: int) -> int:
        """Return the index of the stage that `epoch` (from 0) belongs to; the last one for all later epochs."""
        return max(k for k, start in enumerate(self.starts) if start <= max(epoch, 0))

    def starts_at(self, epoch: int) -> bool:
        """Whether `epoch` is the first of a stage."""
        return epoch in self.starts

    def ends_at(self, epoch: int) -> bool:
        """Whether `epoch` is the last of a stage."""
        return epoch + 1 in self.starts or epoch + 1 == self.total_epochs

    def changes_network_at(self, epoch: int) -> bool:
        """Whether `epoch` is the first of a stage with other sparsity or fewer auxiliary blocks than the one before.

        Before the first stage, the network is not pruned.
        """
        if not self.starts_at(epoch):
            return False
        k = self.stage_at(epoch)
        row = self.rows[k]
        before = self.rows[k - 1] if k > 0 else replace(row, sparsity=0.0)
        return (row.sparsity, row.auxiliary) != (before.sparsity, before.auxiliary)

    def magnitude(self, epoch: int) -> Magnitude:
        """Return M during `epoch`: constant, or floor(a + (b - a) e / (E - 1) + 1/2) in epoch e of a stage of E."""
        k = self.stage_at(epoch)
        row = self.rows[k]
        if not isinstance(row.magnitude, tuple):
            return row.magnitude
        start, end = row.magnitude
        length = max(row.epochs - 1, 1)
        done = min(max(epoch - self.starts[k], 0), row.epochs - 1)
        return (2 * start * length + 2 * (end - start) * done + length) // (2 * length)

    def lr_factor(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of optimizer step `step` (from 0) as a share of the stage's peak.

        Each stage rises linearly over its first epoch, at most a fifth of the stage, and falls to 0 along a cosine.
        After the last stage the share is 0.
        """
        if step >= self.total_epochs * steps_per_epoch:
            return 0.0
        k = self.stage_at(step // steps_per_epoch)
        step -= self.starts[k] * steps_per_epoch
        steps = self.rows[k].epochs * steps_per_epoch
        warmup = min(steps_per_epoch, steps // 5)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))

    def lr(self, step: int, steps_per_epoch: int, default: float) -> float:
        """Return the learning rate of optimizer step `step`, where a row without `lr` peaks at `default`."""
        peak = self.rows[self.stage_at(step // steps_per_epoch)].lr
        return (default if peak is None else peak) * self.lr_factor(step, steps_per_epoch)

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


_REMEDY = {
    "epochs": "write a whole number, at least 1",
    "sparsity": "write a number from 0 to below 1, or leave it out for 0",
    "magnitude": "write 0..30, random, [a, b] or none",
    "auxiliary": "write a whole number, at least 0, or leave it out for 0",
    "lr": "write a number over 0, or leave it out for the optimizer's",
}


def _times(count: int, scale: float) -> int:
    return max(min(count, 1), math.floor(count * scale + 0.5))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_bin(value: Any) -> bool:
    return _is_int(value) and 0 <= value <= MAX_MAGNITUDE


def _is_magnitude(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(_is_bin, value))
    return _is_bin(value) or value in ("none", "random")


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
