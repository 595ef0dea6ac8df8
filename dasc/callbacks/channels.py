"""Removal of channels as a stage starts."""

from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from dasc.callbacks.context import image_data, log_epoch
from dasc.callbacks.structure import change_structure
from dasc.errors import UserError
from dasc.modules import PrunedClassifier
from dasc.pruning.channels import removed_share
from dasc.stages import Stages


class RemoveChannels(Callback):
    """At the first epoch of a stage with a larger share, removes channels by the module's `channel_criterion`.

    All processes keep the channels that the first one selects. Optimizer state and masks keep the same channels, and
    the DDP wrapper is replaced. It comes after `DropAuxiliaryLayers`, and before `L1Pruning`: the target sparsity of a
    row refers to the weights that remain.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has a criterion."""
        if not isinstance(pl_module, PrunedClassifier):
            raise UserError(
                f"RemoveChannels needs a PrunedClassifier, not a {type(pl_module).__name__}: set model to that"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove channels where a stage starts with a larger share than the network has lost."""
        assert isinstance(pl_module, PrunedClassifier)
        if not self._stages.starts_at(trainer.current_epoch):
            return
        stage = self._stages.stage_at(trainer.current_epoch)
        share = self._stages[stage].channels
        if share <= removed_share(pl_module.network):
            return
        first: Any = None
        if trainer.is_global_zero:
            first = pl_module.kept_channels(pl_module.network, share, image_data(trainer).image_size)
        kept = trainer.strategy.broadcast(first)
        rank_zero_info(f"stage {stage + 1}: {share:.1%} of the channels removed")
        remove = partial(pl_module.remove_channels, kept=kept, share=share, optimizers=trainer.optimizers)
        change_structure(trainer, pl_module, remove)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the share of the epoch, in a run that removes channels."""
        if any(row.channels for row in self._stages):
            log_epoch(pl_module, "channels", float(self._stages.value("channels", trainer.current_epoch)))
