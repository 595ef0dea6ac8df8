"""Pruning as a stage starts."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dasc.callbacks.context import log_epoch
from dasc.errors import UserError
from dasc.modules import PrunedClassifier
from dasc.stages import Stages


class L1Pruning(Callback):
    """At the first epoch of each stage, prunes weights by the module's criterion until the row's sparsity is reached.

    All processes take the masks of the first one.

    Args:
        stages: The table of stages.

    References:
        Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232, Eq. 5; `torch.nn.utils.prune.l1_unstructured`.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.sparsity = 0.0
        """Share of the prunable weights that is zero now."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has masks."""
        if not isinstance(pl_module, PrunedClassifier):
            raise UserError(f"L1Pruning needs a PrunedClassifier, not a {type(pl_module).__name__}: set model to that")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the sparsity that a continued run starts from."""
        assert isinstance(pl_module, PrunedClassifier)
        self.sparsity = pl_module.masks.sparsity()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune where a stage starts."""
        assert isinstance(pl_module, PrunedClassifier)
        epoch = trainer.current_epoch
        if not self._stages.starts_at(epoch):
            return
        stage = self._stages.stage_at(epoch)
        masks = pl_module.masks_at(self._stages[stage].sparsity, stage)
        first: dict[str, Any] = trainer.strategy.broadcast({name: mask.cpu() for name, mask in masks.items()})
        pl_module.set_masks(first, trainer.optimizers)
        self.sparsity = pl_module.masks.sparsity()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the sparsity of the epoch."""
        log_epoch(pl_module, "sparsity", self.sparsity)
