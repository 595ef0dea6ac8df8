"""Which magnitudes a teacher chooses."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dasc.callbacks.board import boards
from dasc.callbacks.context import run_folder
from dasc.callbacks.files import write_csv
from dasc.modules import DistilledClassifier, epoch_is_complete
from dasc.stages import MAX_MAGNITUDE

COLUMNS = ("epoch", *(f"M{magnitude}" for magnitude in range(MAX_MAGNITUDE + 1)))
"""The columns of selection.csv: how many of the views that were trained on had each magnitude."""


class SelectionReport(Callback):
    """Writes, for every epoch, a row of selection.csv and a histogram for TensorBoard of the magnitudes chosen.

    The rows are kept in the checkpoints, so a continued run has those of the epochs before it.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._rows: list[list[int]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, on all processes."""
        self._folder = run_folder(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the rows so far."""
        checkpoint.setdefault("dasc", {})["selected"] = self._rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the rows over."""
        self._rows = [list(row) for row in checkpoint["dasc"].get("selected", [])]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add up the epoch over all processes, and write it."""
        if not isinstance(pl_module, DistilledClassifier):
            return
        counts = pl_module.take_chosen_bins()
        if counts is None or not epoch_is_complete(trainer):
            return
        total = trainer.strategy.reduce(counts, reduce_op="sum")
        assert isinstance(total, Tensor)
        self._rows = [*self._rows, [trainer.current_epoch + 1, *total.tolist()]]
        for logger in boards(trainer):
            _draw(logger.experiment, total.cpu(), trainer.current_epoch)
        if self._folder is not None and trainer.is_global_zero:
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in self._rows]
            write_csv(self._folder / "selection.csv", rows, COLUMNS)


def _draw(writer: object, counts: Tensor, epoch: int) -> None:
    """Write a histogram with a bucket for each magnitude."""
    bins = torch.arange(len(counts), dtype=torch.float64)
    counts = counts.double()
    writer.add_histogram_raw(  # type: ignore[attr-defined]  # TensorBoard's SummaryWriter
        "chosen_magnitudes",
        min=0.0,
        max=float(MAX_MAGNITUDE),
        num=float(counts.sum()),
        sum=float((counts * bins).sum()),
        sum_squares=float((counts * bins.square()).sum()),
        bucket_limits=(bins + 0.5).tolist(),
        bucket_counts=counts.tolist(),
        global_step=epoch,
    )
