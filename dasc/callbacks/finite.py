"""Stopping a run whose numbers are no longer finite."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dasc.errors import UserError
from dasc.modules import Classifier, epoch_is_complete
from dasc.stages import Stages

CHECK_EVERY = 500
"""Batches between two checks within an epoch: a check makes a GPU wait."""


class StopNotFinite(Callback):
    """Stops the run at the end of an epoch whose loss or weights are NaN or infinite, before the epoch is saved.

    It comes before the callbacks that record and save the epoch. In long epochs, the loss is checked every
    `CHECK_EVERY` batches as well.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss from time to time."""
        if (batch_idx + 1) % CHECK_EVERY == 0:
            self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check loss, validation loss and weights."""
        assert isinstance(pl_module, Classifier)
        self._check(trainer, pl_module)
        loss = pl_module.validation().get("loss", 0.0)
        if not math.isfinite(loss):
            raise self._error(trainer, "val/loss", loss)
        if epoch_is_complete(trainer) and not _all_finite(pl_module):
            raise self._error(trainer, "a weight", math.nan)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        for name, mean in pl_module.train_means().items():
            if not math.isfinite(mean):
                raise self._error(trainer, f"train/{name}", mean)

    def _error(self, trainer: Trainer, name: str, value: float) -> UserError:
        epoch = trainer.current_epoch
        stage = self._stages.stage_at(epoch)
        kept = f"last.ckpt holds epoch {epoch}" if epoch else "no epoch was saved"
        return UserError(
            f"{name} is {value} in epoch {epoch + 1} of {self._stages.total_epochs} (stage {stage + 1}); {kept}. "
            "Try a lower learning rate (--model.optimizer.lr, or lr in the stage's row), gradient clipping "
            "(--trainer.gradient_clip_val 1), or bf16-mixed instead of 16-mixed precision"
        )


@torch.no_grad()
def _all_finite(module: Classifier) -> bool:
    values = [value for value in module.state_dict().values() if value.is_floating_point()]
    return bool(torch.stack([value.isfinite().all() for value in values]).all())
