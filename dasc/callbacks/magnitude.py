"""The strength of the augmentation through the stages."""

from lightning.pytorch import Callback, LightningModule, Trainer

from dasc.callbacks.context import image_data, log_epoch
from dasc.stages import Magnitude, Stages


class MagnitudeDecay(Callback):
    """Sets RandAugment's magnitude in the data module at the start of every epoch; nothing else does.

    Args:
        stages: The table of stages.

    References:
        Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232, section IV: the magnitude falls as the sparsity rises.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.magnitude: Magnitude = "none"
        """M now."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the data can be augmented."""
        image_data(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the magnitude of an epoch that is resumed within: its `on_train_epoch_start` is not called."""
        self._set(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set this epoch's magnitude: it holds from the next batch on."""
        self._set(trainer)

    def _set(self, trainer: Trainer) -> None:
        self.magnitude = self._stages.value("magnitude", trainer.current_epoch)
        image_data(trainer).augmentation.magnitude = self.magnitude

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the magnitude of the epoch, where it is a number."""
        if not isinstance(self.magnitude, str):
            log_epoch(pl_module, "magnitude", float(self.magnitude))
