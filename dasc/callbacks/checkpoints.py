"""The checkpoints of a run."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from dasc.callbacks.files import write_whole
from dasc.callbacks.report import StageReport
from dasc.callbacks.run import run_folder
from dasc.modules import epoch_is_complete
from dasc.stages import Stages


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there: a crash never leaves a broken file."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Save a checkpoint at `path`, making its folder."""
        write_whole(Path(path), lambda file: torch.save(checkpoint, file))


class StageCheckpoint(Checkpoint):
    """Saves at the end of every epoch, under up to four names in the run's checkpoints/ folder.

    `last` is the newest; `stage-K` the last epoch of stage K (from 1) and `stage-K-best` its best on validation;
    `best` is the best of the last stage: the best of the whole run would be its densest network.

    Args:
        stages: The table of stages.
        report: Knows which epoch is the best of its stage.
    """

    def __init__(self, stages: Stages, report: StageReport) -> None:
        self._stages = stages
        self._report = report
        self._folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, on all processes."""
        self._folder = run_folder(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, unless it is cut short."""
        if self._folder is None or not epoch_is_complete(trainer):
            return
        folder = self._folder / "checkpoints"
        new, last = folder / "new.ckpt", folder / "last.ckpt"
        trainer.save_checkpoint(new, weights_only=False)
        if trainer.is_global_zero:
            for name in self._names(trainer.current_epoch):
                beside = folder / f".{name}"
                shutil.copyfile(new, beside)
                beside.replace(folder / f"{name}.ckpt")
            # last of all: a run killed before this line repeats the epoch and writes the same files again
            new.replace(last)
        trainer.strategy.barrier("StageCheckpoint")

    def _names(self, epoch: int) -> list[str]:
        k = self._stages.stage_at(epoch)
        names = [f"stage-{k + 1}"] if self._stages.ends_at(epoch) else []
        if self._report.is_best:
            names.append(f"stage-{k + 1}-best")
            if k + 1 == len(self._stages):
                names.append("best")
        return names
