"""The column `lr`: the peak learning rate of a stage, and the learning rate of every step."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dasc.stages.column import Column, PlanFacts, StageFacts, is_number

if TYPE_CHECKING:
    from dasc.stages.table import Stages


class LearningRate(Column):
    """Peak learning rate, over 0; None is that of the optimizer."""

    name = title = "lr"
    remedy = "write a number over 0"
    default_text = "the optimizer's"
    help = "lr, the peak learning rate"
    always_shown = True

    def is_valid(self, value: Any) -> bool:
        """Return whether it is a finite number over 0."""
        return is_number(value) and 0 < value < math.inf

    def plan_text(self, value: Any, facts: PlanFacts) -> str:
        """Return the peak."""
        return f"{facts.lr if value is None else value:g}"

    def progress(self, value: Any) -> str:
        """Return nothing: the rate changes with every step."""
        return ""

    def short(self, value: Any) -> str:
        """Return the peak, if the row has one."""
        return "" if value is None else f" lr {value:g}"

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the peak."""
        return {"lr": facts.lr if value is None else value}

    def is_in_report(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Return False."""
        return False


def lr_at(stages: "Stages", step: int, steps_per_epoch: int, default: float) -> float:
    """Return the learning rate of optimizer step `step` (from 0); a row without `lr` peaks at `default`."""
    peak = stages[stages.stage_at(step // steps_per_epoch)].lr
    return float(default if peak is None else peak) * lr_factor(stages, step, steps_per_epoch)


def lr_factor(stages: "Stages", step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step` (from 0) as a share of the stage's peak.

    Each stage rises linearly over its first epoch, at most a fifth of the stage, and falls to 0 along a cosine.
    After the last stage the share is 0.
    """
    if step >= stages.total_epochs * steps_per_epoch:
        return 0.0
    k = stages.stage_at(step // steps_per_epoch)
    step -= int(stages.starts[k]) * steps_per_epoch
    steps = int(stages[k].epochs) * steps_per_epoch
    warmup = min(steps_per_epoch, steps // 5)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))


COLUMN = LearningRate()
