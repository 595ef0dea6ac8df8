"""The progress bar."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from dasc.stages import Stages, in_order


class StageProgressBar(TQDMProgressBar):
    """Shows the stage and its columns in front of Lightning's bar.

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
        parts = [column.progress(self._stages.value(column.name, epoch)) for column in in_order()]
        stage = f"Stage {self._stages.stage_at(epoch) + 1}/{len(self._stages)}"
        epochs = f"epoch {epoch + 1}/{self._stages.total_epochs}"
        self.train_progress_bar.set_description(" | ".join([stage, *filter(None, parts), epochs]))
