"""How a finished network answers: on the test images, and on augmented validation images (Eq. 3)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassCalibrationError

from dasc.data import Batch, ImageData
from dasc.modules.classifier import hits


class Scorer:
    """Scores networks on one data set, in one process on one device.

    Args:
        data: The images; the trainer that it had is taken from it.
        accelerator: Where, as Lightning's Trainer takes it.
        precision: In which precision, as Lightning's Trainer takes it.
        part: The part that is scored, `test` or `val`. Other images are not decoded.
    """

    def __init__(
        self, data: ImageData, accelerator: str, precision: Any, part: Literal["test", "val"] = "test"
    ) -> None:
        with _silent():
            trainer = Trainer(
                accelerator=accelerator,
                devices=1,
                precision=precision,
                logger=False,
                enable_progress_bar=False,
                enable_checkpointing=False,
                enable_model_summary=False,
            )
        data.trainer = trainer
        data.setup("test" if part == "test" else "validate")
        self._data = data
        self._device = trainer.strategy.root_device
        self._precision = trainer.precision_plugin

    @torch.no_grad()
    def test(self, network: nn.Module) -> dict[str, float]:
        """Return accuracy (0 to 1), negative log-likelihood and calibration error (15 bins) on the test images."""
        accuracy = MeanMetric().to(self._device)
        nll = MeanMetric(nan_strategy="disable").to(self._device)
        ece = MulticlassCalibrationError(self._data.num_classes, n_bins=15).to(self._device)
        network = network.to(self._device).eval()
        for batch in self._batches("test"):
            logits = self._logits(network, self._data.pipeline.normalise(batch.images))
            accuracy.update(hits(logits, batch.targets))
            nll.update(F.cross_entropy(logits, batch.targets, reduction="none"))
            ece.update(logits.softmax(1), batch.targets)
        return {"accuracy": float(accuracy.compute()), "nll": float(nll.compute()), "ece": float(ece.compute())}

    @torch.no_grad()
    def augmented_loss(self, network: nn.Module, magnitude: int, draws: int) -> float:
        """Return the mean cross entropy on the validation images under fixed draws of RandAugment at a magnitude."""
        loss = MeanMetric(nan_strategy="disable").to(self._device)
        network = network.to(self._device).eval()
        for batch in self._batches("val"):
            for draw in range(draws):
                images = self._data.pipeline.augmented(batch, "val", draw, magnitude)
                logits = self._logits(network, self._data.pipeline.normalise(images))
                loss.update(F.cross_entropy(logits, batch.targets, reduction="none"))
        return float(loss.compute())

    def _batches(self, part: str) -> Iterator[Batch]:
        loader = self._data.test_dataloader() if part == "test" else self._data.val_dataloader()
        for batch in loader:
            images, targets = batch.images.to(self._device), batch.targets.to(self._device)
            yield batch._replace(images=images, targets=targets)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        with self._precision.val_step_context():
            logits: Tensor = network(images)
        return logits.float()


@contextmanager
def _silent() -> Iterator[None]:
    """Leave out which devices there are: the training said it."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)
