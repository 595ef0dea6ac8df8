"""How fast a run is."""

import platform
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dasc import __version__
from dasc.callbacks.context import image_data, log_epoch, run_folder
from dasc.modules import epoch_is_complete
from dasc.stages import Stages

COLUMNS = (
    "epoch",
    "stage",
    "train_seconds",
    "images_per_second",
    "processes",
    "device",
    "threads",
    "precision",
    "dasc",
    "torch",
    "lightning",
)
"""The columns of timing.csv."""


class Timing(Callback):
    """Logs images per second and adds a row to timing.csv for every epoch trained, those repeated after a crash too.

    Seconds are those of the training batches, without validation and checkpoints.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.images_per_second: float | None = None
        """Speed of the last complete epoch, over all processes."""
        self._start = 0.0
        self._seconds = 0.0
        self._batches = 0
        self._folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, on all processes."""
        self._folder = run_folder(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, also of an epoch that is resumed within: its `on_train_epoch_start` is not called."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        self._batches = 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock after the last batch, when the device is done with it."""
        self._batches += 1
        if trainer.is_last_batch:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)
            self._seconds = time.monotonic() - self._start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's speed, unless it is cut short."""
        if not epoch_is_complete(trainer) or self._batches == 0:
            return
        speed = self._batches * image_data(trainer).batch_size / max(self._seconds, 1e-9)
        self.images_per_second = speed
        log_epoch(pl_module, "images_per_second", speed)
        log_epoch(pl_module, "seconds_per_step", self._seconds / self._batches)
        if self._folder is not None and trainer.is_global_zero:
            self._append(self._folder / "timing.csv", trainer, pl_module, speed)

    def _append(self, path: Path, trainer: Trainer, pl_module: LightningModule, speed: float) -> None:
        device = pl_module.device
        row = {
            "epoch": trainer.current_epoch + 1,
            "stage": self._stages.stage_at(trainer.current_epoch) + 1,
            "train_seconds": f"{self._seconds:.3f}",
            "images_per_second": f"{speed:.1f}",
            "processes": trainer.world_size,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "threads": torch.get_num_threads(),
            "precision": trainer.precision,
            "dasc": __version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a") as file:
            lines = [",".join(COLUMNS)] if new else []
            file.write("\n".join([*lines, ",".join(str(row[column]) for column in COLUMNS)]) + "\n")
