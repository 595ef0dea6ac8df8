"""The learning rate of every step, from the table of stages."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dasc.stages import Stages, lr_at


class StageLR(LRScheduler):
    """Learning rate as a function of (epoch, optimizer step in the epoch).

    It warms up and decays along a cosine in every stage. `start_epoch` sets the position at the start of each epoch and
    `step` moves it after each optimizer step, so that an epoch that is cut short and repeated has its own rates again.

    Args:
        optimizer: Its learning rates are the peaks of stages without `lr`.
        stages: The table.
    """

    def __init__(self, optimizer: Optimizer, stages: Stages) -> None:
        self._stages = stages
        self._epoch = 0
        self._step = -1  # the constructor of LRScheduler calls `step`
        self._steps_per_epoch = 1
        super().__init__(optimizer)

    def start_epoch(self, epoch: int, steps_per_epoch: int) -> None:
        """Set the learning rate of an epoch's first step.

        Args:
            epoch: The epoch (from 0).
            steps_per_epoch: Optimizer steps of a whole epoch.
        """
        self._epoch, self._step, self._steps_per_epoch = epoch, 0, steps_per_epoch
        self._set()

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rate of the next optimizer step."""
        self._step += 1
        super().step()

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of the next step for each parameter group."""
        return self.lrs(self._step)

    def lrs(self, step: int) -> list[float | Tensor]:
        """Return the learning rate of a step (from 0) of the current epoch for each parameter group."""
        place = self._epoch * self._steps_per_epoch + step
        return [lr_at(self._stages, place, self._steps_per_epoch, float(peak)) for peak in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the rest follows from the table."""
        return {"epoch": self._epoch, "step": self._step, "steps_per_epoch": self._steps_per_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a position, and set its learning rate: the table may have gained stages since the state was saved."""
        self._epoch, self._step = state_dict["epoch"], state_dict["step"]
        self._steps_per_epoch = state_dict["steps_per_epoch"]
        self._set()

    def _set(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
