"""Schedules of RandAugment's magnitude M through a stage or a training.

A new schedule is a subclass of `Schedule` in this file: `parse_schedule` tries all of them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

from dasc.stages.column import is_integer

MAX_MAGNITUDE = 30

Magnitude = int | str
"""M in an epoch: a bin 0..30, `none` (no RandAugment at all) or `random` (0..30, drawn for each image)."""


class Schedule(ABC):
    """A schedule: a value with equality and a hash. `str` gives it in words."""

    @classmethod
    @abstractmethod
    def parse(cls, raw: Any) -> Self | None:
        """Return the schedule for a cell as in YAML, or None if the cell is another one."""

    @abstractmethod
    def dump(self) -> Any:
        """Return the cell as in YAML; the inverse of `parse`."""

    @abstractmethod
    def at(self, epoch: int, epochs: int) -> Magnitude:
        """Return M in epoch `epoch` (from 0) of `epochs` epochs."""

    def short(self) -> str:
        """Return the schedule in a few characters, without spaces."""
        return str(self)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same M in all epochs: 0..30, `none` or `random`."""

    magnitude: Magnitude

    @classmethod
    def parse(cls, raw: Any) -> Self | None:
        """Read a bin or a word."""
        return cls(raw) if is_bin(raw) or (isinstance(raw, str) and raw in ("none", "random")) else None

    def dump(self) -> Magnitude:
        """Return M."""
        return self.magnitude

    def at(self, epoch: int, epochs: int) -> Magnitude:
        """Return M."""
        return self.magnitude

    def __str__(self) -> str:
        return str(self.magnitude)


@dataclass(frozen=True)
class Linear(Schedule):
    """A line from `start` to `end`: floor(a + (b - a) e / (E - 1) + 1/2) in epoch e of E."""

    start: int
    end: int

    @classmethod
    def parse(cls, raw: Any) -> Self | None:
        """Read `[a, b]`."""
        return cls(*raw) if isinstance(raw, list | tuple) and len(raw) == 2 and all(map(is_bin, raw)) else None

    def dump(self) -> list[int]:
        """Return `[a, b]`."""
        return [self.start, self.end]

    def at(self, epoch: int, epochs: int) -> int:
        """Return M; before the first epoch and after the last one it keeps its ends."""
        length = max(epochs - 1, 1)
        done = min(max(epoch, 0), epochs - 1)
        return (2 * self.start * length + 2 * (self.end - self.start) * done + length) // (2 * length)

    def short(self) -> str:
        """Return `a..b`."""
        return f"{self.start}..{self.end}"

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


def parse_schedule(raw: Any) -> Schedule | None:
    """Return the schedule for a cell as in YAML, or None if there is none."""
    found = (kind.parse(raw) for kind in Schedule.__subclasses__())
    return next((schedule for schedule in found if schedule is not None), None)


def is_bin(value: Any) -> bool:
    """Return whether a value is one of RandAugment's bins 0..30."""
    return is_integer(value) and 0 <= value <= MAX_MAGNITUDE
