"""The progress bar."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from dasc.stages import Stages


class StageProgressBar(TQDMProgressBar):
    """Names the stage, its sparsity and the magnitude in front of Lightning's bar.

    Args:
        stages: The table of stages.
        refresh_rate: Batches between two updates of the bar.
    """

    def __init__(self, stages: Stages, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._stages = stages

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the bar, also of an epoch that is resumed within: its `on_train_epoch_start` is not called."""
        super().on_train_start(trainer, pl_module)
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this epoch's state."""
        super().on_train_epoch_start(trainer, pl_module)
        epoch = trainer.current_epoch
        k = self._stages.stage_at(epoch)
        row = self._stages[k]
        blocks = f"auxiliary {row.auxiliary} | " if row.auxiliary > 0 else ""
        self.train_progress_bar.set_description(
            f"Stage {k + 1}/{len(self._stages)} | sparsity {row.sparsity:g} | {blocks}"
            f"M {self._stages.magnitude(epoch)} | epoch {epoch + 1}/{self._stages.total_epochs}"
        )
