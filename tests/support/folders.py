"""Loggers and callbacks for the tests of run folders."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

from dasc.errors import UserError


class RemoteLogger(Logger):
    """A logger that keeps its data elsewhere, as WandbLogger or MLFlowLogger with a database.

    Args:
        folder: Its `save_dir`.
    """

    def __init__(self, folder: str | None = None) -> None:
        super().__init__()
        self._folder = folder

    @property
    def name(self) -> str:
        return "project"

    @property
    def version(self) -> str:
        return "id"

    @property
    def save_dir(self) -> str | None:
        return self._folder

    def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...


class FailAt(Callback):
    """Logs a metric in every step, and raises in the validation of epoch `epoch` (from 0)."""

    def __init__(self, epoch: int = -1) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        pl_module.log("global_step", float(trainer.global_step))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("stopped by the test")


class FailInSetup(Callback):
    """Refuses the run after its loggers have started."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        raise UserError("refused by the test")


class WriteFolders(Callback):
    """Writes rank-N.json into `folder`: the folders as this process knows them."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        known = {
            "log_dir": trainer.log_dir,
            "loggers": [getattr(logger, "log_dir", None) for logger in trainer.loggers],
            "dirpaths": [str(c.dirpath) for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)],
        }
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(known))
