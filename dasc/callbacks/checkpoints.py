"""The checkpoints of a run."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from dasc import checksum
from dasc.callbacks.context import run_folder
from dasc.callbacks.files import write_whole
from dasc.callbacks.report import StageReport
from dasc.errors import UserError
from dasc.modules import epoch_is_complete
from dasc.runs import CHECKPOINTS, is_own_name
from dasc.stages import Stages


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint with a checksum beside its place and moves it there: a crash never leaves a broken file."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Save a checkpoint at `path`, making its folder."""
        if "dasc" in checkpoint:
            checkpoint = checkpoint | {"dasc": checkpoint["dasc"] | {"checksum": checksum.NAME}}

        def write(file: IO[bytes]) -> None:
            checksum.write_with_checksum(file, lambda writer: torch.save(checkpoint, writer))

        write_whole(Path(path), write)


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
        folder = self._folder / CHECKPOINTS
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


def set_checkpoint_folder(callbacks: Iterable[Callback], folder: Path) -> None:
    """Let each ModelCheckpoint without a dirpath save into `folder`.

    Raises:
        UserError: One would replace a checkpoint of dasc.
    """
    check_names(callbacks)
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = os.path.realpath(folder)  # absolute, as Lightning does: compared on resume


def check_names(callbacks: Iterable[Callback]) -> None:
    """Refuse a ModelCheckpoint that would replace a checkpoint of dasc.

    Raises:
        UserError: Its dirpath is the run's checkpoints/ folder, and its file has a name that dasc uses.
    """
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            for name in filter(is_own_name, _file_names(callback)):
                raise UserError(
                    f"ModelCheckpoint would replace checkpoints/{name}.ckpt, which dasc saves itself: "
                    "omit save_last, or give it another filename or a dirpath"
                )


def _file_names(callback: ModelCheckpoint) -> list[str]:
    """Return the names of the files of epoch 1 and step 1, without .ckpt."""
    patterns = [callback.filename] if callback.save_top_k != 0 or callback.save_on_exception else []
    patterns += [callback.CHECKPOINT_NAME_LAST] if callback.save_last else []
    one = torch.tensor(1)
    names = [callback.format_checkpoint_name({"epoch": one, "step": one}, pattern) for pattern in patterns]
    return [name.removesuffix(callback.FILE_EXTENSION) for name in names]
