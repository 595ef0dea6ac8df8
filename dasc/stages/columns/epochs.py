"""The column `epochs`: the length of a stage."""

from typing import Any

from dasc.stages.column import Column, PlanFacts, StageFacts, is_integer, scaled_count


class Epochs(Column):
    """Number of epochs, at least 1."""

    name = title = "epochs"
    required = "epochs is missing: write how many epochs the stage is long"
    remedy = "write a whole number, at least 1"
    help = "epochs"
    always_shown = True

    def is_valid(self, value: Any) -> bool:
        """Return whether it is an integer of at least 1."""
        return is_integer(value) and value >= 1

    def scaled(self, value: Any, factor: float) -> int:
        """Return the length under `--epochs_scale`."""
        return scaled_count(value, factor)

    def plan_text(self, value: Any, facts: PlanFacts) -> str:
        """Return the first and the last epoch."""
        return f"{facts.first}-{facts.last}"

    def progress(self, value: Any) -> str:
        """Return nothing: the progress bar counts epochs itself."""
        return ""

    def short(self, value: Any) -> str:
        """Return the length, the first part of a row."""
        return f"{value}x"

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the length."""
        return {"epochs": value}


COLUMN = Epochs()
