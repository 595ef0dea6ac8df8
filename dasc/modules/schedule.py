"""The learning rate of every step, from the table of stages."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dasc.stages import Stages


class StageLR(LRScheduler):
    """Warms up and falls along a cosine in every stage; stepped after each optimizer step.

    Args:
        optimizer: Its learning rates are the peaks of the stages that name none.
        stages: The table.
        steps_per_epoch: Optimizer steps of one epoch.
    """

    def __init__(self, optimizer: Optimizer, stages: Stages, steps_per_epoch: int) -> None:
        self._stages = stages
        self._steps_per_epoch = steps_per_epoch
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of the coming step for each parameter group."""
        return [self._stages.lr(self.last_epoch, self._steps_per_epoch, float(peak)) for peak in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps done: the rest follows from the table."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a step, and set its learning rate: the table may have gained stages since the state was saved."""
        self.__dict__.update(state_dict)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
