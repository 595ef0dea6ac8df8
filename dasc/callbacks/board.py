"""What a run leaves for TensorBoard beside its curves."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from dasc.callbacks.context import run_folder
from dasc.modules import Classifier
from dasc.stages import COLUMNS, Stage, Stages, in_order

RESULTS = ("val_accuracy_last", "val_accuracy_best", "sparsity", "nonzero_parameters")
"""The columns of the last row of stages.csv that stand beside the hyper-parameters."""


class Board(Callback):
    """Lays out the page of custom scalars as the run starts, and adds the run to the hyper-parameters as it ends.

    Results are those of the last stage in stages.csv: a run that stops before its table ends is not added.
    TensorBoard reads the hyper-parameters of a run once: one that is continued with a longer table keeps its first.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, on all processes."""
        self._folder = run_folder(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out the page."""
        for logger in boards(trainer):
            logger.experiment.add_custom_scalars(_layout(self._stages))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the hyper-parameters and what came of them."""
        assert isinstance(pl_module, Classifier)
        results = {} if self._folder is None else _results(self._folder / "stages.csv", len(self._stages))
        for logger in boards(trainer) if results else []:
            settings = _settings(pl_module.describe(), self._stages)
            logger.log_hyperparams(settings, results, step=self._stages.total_epochs - 1)


def boards(trainer: Trainer) -> list[TensorBoardLogger]:
    """Return the loggers that write for TensorBoard: in a fast_dev_run and beside the first process there are none."""
    return [logger for logger in trainer.loggers if trainer.is_global_zero and isinstance(logger, TensorBoardLogger)]


def _layout(stages: Stages) -> dict[str, dict[str, list[Any]]]:
    """Return the charts by category: TensorBoard puts categories under, charts of one category beside each other."""
    page = {"accuracy": {"accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]]}}
    curves = sorted(column.name for column in in_order() if column.is_curve(stages.column(column.name)))
    page |= {tag: {tag: _exact(tag)} for tag in curves}
    loss = ["Multiline", ["train/loss", "val/loss"]]
    speed = ["Multiline", ["images_per_second"]]
    return page | {"training": {"loss": loss, "lr": _exact("lr"), "images_per_second": speed}}


def _exact(tag: str) -> list[Any]:
    # a band of no width: TensorBoard smooths lines, and a step would be drawn as a curve
    return ["Margin", [tag, tag, tag]]


def _results(path: Path, stages: int) -> dict[str, float]:
    if not path.exists():
        return {}
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {f"hparams/{name}": float(rows[-1][name]) for name in RESULTS if len(rows) == stages and rows[-1][name]}


def _settings(described: Mapping[str, Any], stages: Stages) -> dict[str, str | int | float]:
    """Return a value a column: all runs have the same ones, and the first five by name are shown unasked."""
    network, recipe, data = described["network"], described["recipe"], described["data"]
    arguments = [str(value) for name, value in network["init_args"].items() if name != "num_classes"]
    optimizer = [f"{name}={value}" for name, value in recipe["optimizer"].items() if value not in (None, False, 0)]
    return {
        "batch_size": data["batch_size"],
        "dataset": data["dataset"],
        "network": f"{network['class_path'].rpartition('.')[2]}({', '.join(arguments)})",
        "seed": str(described["seed"]),
        "stages": ", ".join(map(_short, stages)),
        "training/distillation": _distillation(recipe),
        "training/label_smoothing": recipe["label_smoothing"],
        "training/mix": data["mix"],
        "training/module": recipe["module"],
        "training/optimizer": ", ".join(optimizer),
    }


def _distillation(recipe: Mapping[str, Any]) -> str:
    if "teacher" not in recipe:
        return "none"
    chosen = recipe["selection"]
    views = "none" if chosen == "none" else ", ".join(f"{name} {value}" for name, value in chosen.items())
    settings = f"alpha {recipe['alpha']:g}, temperature {recipe['temperature']:g}, targets {recipe['targets']}"
    return f"{settings}, selection {views}"


def _short(row: Stage) -> str:
    """Return a row as epochs x sparsity @ M, with what else it names."""
    return "".join(COLUMNS[name].short(value) for name, value in row.items())
