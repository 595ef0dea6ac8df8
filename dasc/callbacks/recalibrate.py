"""BatchNorm statistics after the network has changed."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from dasc.callbacks.context import log_epoch
from dasc.modules import Classifier
from dasc.seeding import Stream, mix, run_seed
from dasc.stages import Stages


class RecalibrateBatchNorm(Callback):
    """Takes the running statistics of BatchNorm anew, right after a drop or a pruning step.

    Mean and variance become their averages over the first `module.recalibrate` training batches of the stage, augmented
    as they will be; each process takes its own, and those of the first hold, as in DDP. Weights stay as they are.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._used = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Recalibrate where a stage starts with another network than the one before it had."""
        assert isinstance(pl_module, Classifier)
        self._used = 0
        if pl_module.recalibrate and self._stages.changes_network_at(trainer.current_epoch):
            # dropout draws as after a resume
            torch.manual_seed(mix(Stream.RECALIBRATION, run_seed(), trainer.current_epoch, trainer.global_rank))
            self._used = recalibrate(pl_module.network, islice(_batches(trainer), pl_module.recalibrate), trainer)
            rank_zero_info(f"epoch {trainer.current_epoch + 1}: BatchNorm recalibrated on {self._used} batches")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how many batches were used at the start of the epoch, where any were."""
        if self._used:
            log_epoch(pl_module, "recalibration_batches", float(self._used))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what the end of an epoch needs that is resumed within."""
        checkpoint.setdefault("dasc", {})["recalibration_batches"] = self._used

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        self._used = checkpoint["dasc"].get("recalibration_batches", 0)


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterator[Any], trainer: Trainer) -> int:
    """Set the running statistics of all BatchNorm layers to their averages over batches.

    Returns:
        The number of batches.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    used = 0
    with trainer.precision_plugin.forward_context():
        for batch in batches:
            images = batch.images if batch.images.dim() == 4 else batch.images[0]  # the first of several views
            network.forward(images)  # not compiled: a graph for a few batches costs more than it saves
            used += 1
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return used


def _batches(trainer: Trainer) -> Iterator[Any]:
    assert trainer.train_dataloader is not None
    for batch in trainer.train_dataloader:
        yield trainer.strategy.batch_to_device(batch)  # on_after_batch_transfer of the data is part of it
