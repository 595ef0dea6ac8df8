"""Dropping auxiliary blocks as a stage starts."""

from functools import partial

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from dasc.callbacks.structure import change_structure
from dasc.modules import Classifier
from dasc.networks import auxiliary_blocks, set_auxiliary_blocks
from dasc.stages import Stages


class DropAuxiliaryLayers(Callback):
    """At the first epoch of a stage with fewer auxiliary blocks, drops the last ones.

    Their parameters, gradients and optimizer state go with them, and so does the DDP wrapper, for a new one; what stays
    keeps its momentum. It comes before `L1Pruning`: the target of a row refers to what remains.

    Args:
        stages: The table of stages.

    References:
        Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232, section IV-C2.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop where a stage starts with fewer blocks than there are."""
        assert isinstance(pl_module, Classifier)
        if not self._stages.starts_at(trainer.current_epoch):
            return
        stage = self._stages.stage_at(trainer.current_epoch)
        present, count = auxiliary_blocks(pl_module.network), self._stages[stage].auxiliary
        if count < present:
            rank_zero_info(f"stage {stage + 1}: {present - count} of {present} auxiliary blocks dropped")
            change_structure(trainer, pl_module, partial(set_auxiliary_blocks, count=count))
