"""The column `magnitude`: the strength of RandAugment during a stage."""

from collections.abc import Sequence
from typing import Any

from dasc.stages.column import Column, StageFacts
from dasc.stages.schedules import Constant, Schedule, parse_schedule


class MagnitudeColumn(Column):
    """A schedule of RandAugment's magnitude M; see `dasc.stages.schedules`.

    References:
        Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232, section IV: the magnitude falls as the sparsity rises.
    """

    name = "magnitude"
    title = "M"
    default = Constant("none")
    remedy = "write 0..30, random, [a, b] or none"
    help = "magnitude, 0..30, none, random or [a, b]"
    always_shown = True
    callback = "dasc.callbacks.magnitude.MagnitudeDecay"

    def parse(self, raw: Any) -> Any:
        """Return the schedule, or the cell itself if it is none."""
        return raw if isinstance(raw, Schedule) else parse_schedule(raw) or raw

    def is_valid(self, value: Any) -> bool:
        """Return whether it is a schedule."""
        return isinstance(value, Schedule)

    def dump(self, value: Any) -> Any:
        """Return the cell as in YAML."""
        return value.dump()

    def at(self, value: Any, epoch: int, epochs: int) -> Any:
        """Return M: 0..30, `none` or `random`."""
        return value.at(epoch, epochs)

    def plan_text(self, value: Any, facts: Any) -> str:
        """Return the schedule in words."""
        return str(value)

    def progress(self, value: Any) -> str:
        """Return M."""
        return f"M {value}"

    def short(self, value: Any) -> str:
        """Return the schedule in a few characters."""
        return f"@{value.short()}"

    def is_curve(self, values: Sequence[Any]) -> bool:
        """Return whether M is a number in some epoch."""
        return any(isinstance(value, int) for value in values)

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the schedule as in YAML."""
        return {"magnitude": str(value.dump())}


COLUMN = MagnitudeColumn()
