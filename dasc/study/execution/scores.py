"""Scores of a study: networks on the test images, and on augmented validation images (Eq. 3)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from dasc.data import Batch, ImageData
from dasc.metrics import MetricSet, study_formats
from dasc.scoring import run_test
from dasc.stopping import exit_status_of_signals


def scoring_trainer(accelerator: str, precision: Any) -> Trainer:
    """Return a trainer that scores in one process on one device, from arguments of Lightning's Trainer."""
    with _silent():
        return Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )


def score_network(trainer: Trainer, network: nn.Module, data: ImageData) -> dict[str, float]:
    """Return the metrics of `study_formats` on the test images, by name.

    Args:
        trainer: Of `scoring_trainer`.
        network: Maps normalised images (B, 3, H, W) to logits (B, num_classes).
        data: The images. Only test images are decoded.
    """
    with _silent(), _stoppable(trainer):
        return run_test(trainer, network, data, list(study_formats()))


def augmented_loss(trainer: Trainer, network: nn.Module, data: ImageData, magnitude: int, draws: int) -> float:
    """Return the mean cross entropy on the validation images under fixed draws of RandAugment.

    Args:
        trainer: Of `scoring_trainer`.
        network: Maps normalised images (B, 3, H, W) to logits (B, num_classes).
        data: The images. Only validation images are decoded.
        magnitude: RandAugment's M, 0 to 30.
        draws: Number of draws of each image, at least 1.
    """
    data.trainer = trainer
    data.setup("validate")
    module = _AugmentedLoss(network, data, magnitude, draws)
    with _silent(), _stoppable(trainer):
        # without datamodule=data, whose hook would normalise the images before RandAugment
        (values,) = trainer.validate(module, dataloaders=data.val_dataloader(), verbose=False)
    return values["augmented_loss"]


class _AugmentedLoss(LightningModule):
    """Cross entropy of a network under several draws of RandAugment."""

    def __init__(self, network: nn.Module, data: ImageData, magnitude: int, draws: int) -> None:
        super().__init__()
        self.network = network
        self._data = data
        self._magnitude = magnitude
        self._draws = draws

    def on_validation_start(self) -> None:
        self._metrics = MetricSet(self.network, self._data.num_classes, self.device, ["nll"])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment uint8 images (B, 3, H, W) to (draws, B, 3, H, W), outside of the precision of `validation_step`."""
        views = [self._data.pipeline.augmented(batch, "val", draw, self._magnitude) for draw in range(self._draws)]
        return batch._replace(images=torch.stack(views))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for images in batch.images:
            self._metrics.update(self._data.pipeline.normalise(images), batch.targets)

    def on_validation_epoch_end(self) -> None:
        self.log("augmented_loss", self._metrics.compute()["nll"])


@contextmanager
def _stoppable(trainer: Trainer) -> Iterator[None]:
    """Raise StoppedError for SIGTERM and Ctrl-C: Lightning's evaluation only notes SIGTERM."""
    with exit_status_of_signals():
        yield
        if trainer.received_sigterm:
            raise SIGTERMException


@contextmanager
def _silent() -> Iterator[None]:
    """Hide Lightning's messages about devices, which the training printed already."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
