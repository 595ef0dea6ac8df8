"""What callbacks ask of a run."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier


def run_folder(trainer: Trainer) -> Path | None:
    """Return where the run leaves its files; None where it leaves none. Called on all processes: they agree on it."""
    folder = trainer.log_dir
    return None if folder is None or getattr(trainer, "fast_dev_run", False) else Path(folder)


def image_data(trainer: Trainer) -> ImageData:
    """Return the data module of a run.

    Raises:
        UserError: The run has another one.
    """
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        raise UserError(f"dasc trains on ImageData, not on {type(data).__name__}: set data to that")
    return data


def log_epoch(pl_module: LightningModule, name: str, value: float) -> None:
    """Log a value of the epoch that ends; a module that is not dasc's logs it as Lightning does."""
    if isinstance(pl_module, Classifier):
        pl_module.log_epoch({name: value})
    else:
        pl_module.log(name, value)
