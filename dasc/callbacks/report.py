"""What came out of each stage: a table in a file and in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from dasc.callbacks.context import image_data, run_folder
from dasc.callbacks.files import write_csv
from dasc.modules import Classifier, PrunedClassifier, epoch_is_complete
from dasc.networks import count, prunable_weights, short
from dasc.stages import StageFacts, Stages, in_order

RESULTS = (
    *("val_accuracy_last", "val_accuracy_best", "best_epoch"),
    *("parameters", "nonzero_parameters", "macs", "nonzero_macs"),
)
"""What came out of a stage, in stages.csv after the columns of its row."""


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns of stages.csv, each with the cell of rows that lack it.

    They are what is reproducible. Times are in timing.csv.

    Args:
        rows: The rows; columns that only some runs have are included if a row has them.
    """
    shown: dict[str, Any] = {"stage": None}
    for column in in_order():
        names = column.csv_names or (column.name,)
        if not column.csv_if_used:
            shown |= dict.fromkeys(names)
        elif any(name in row for name in names for row in rows):
            shown |= dict.fromkeys(names, column.default)
    return shown | dict.fromkeys(RESULTS)


class StageReport(Callback):
    """Writes a row of stages.csv as each stage ends, and shows them all as the run ends.

    The rows are kept in the checkpoints, so a continued run has the rows of the stages before it.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._rows: list[dict[str, Any]] = []
        self._best: dict[str, Any] = {"stage": None, "accuracy": None, "epoch": None}
        self._folder: Path | None = None
        self.is_best = False
        """Whether the epoch that ends is the best of its stage so far."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the finished rows and the best epoch of the stage so far."""
        checkpoint.setdefault("dasc", {}).update(rows=self._rows, best=self._best)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over the finished rows and the best epoch of the stage so far."""
        self._rows = list(checkpoint["dasc"]["rows"])
        self._best = dict(checkpoint["dasc"]["best"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder, on all processes."""
        self._folder = run_folder(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring stages.csv to what the checkpoint says."""
        if trainer.is_global_zero:
            self._write()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the best epoch; where the stage ends, write its row. An epoch that is cut short has none."""
        assert isinstance(pl_module, Classifier)
        if not epoch_is_complete(trainer):
            return
        epoch, accuracy = trainer.current_epoch, pl_module.validation().get("accuracy")
        self._remember(epoch, accuracy)
        if self._stages.ends_at(epoch) and trainer.is_global_zero:
            self._rows = [*self._rows, self._row(trainer, pl_module, accuracy)]
            self._write()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the stages, and how to look at the curves."""
        if self._folder is not None and trainer.is_global_zero:
            show(self._rows, self._folder)

    def _remember(self, epoch: int, accuracy: float | None) -> None:
        stage = self._stages.stage_at(epoch)
        if self._best["stage"] != stage:
            self._best = {"stage": stage, "accuracy": None, "epoch": None}
        best = self._best["accuracy"]
        self.is_best = accuracy is not None and (best is None or accuracy > best)
        if self.is_best:
            self._best |= {"accuracy": accuracy, "epoch": epoch + 1}

    def _row(self, trainer: Trainer, module: Classifier, accuracy: float | None) -> dict[str, Any]:
        k = self._stages.stage_at(trainer.current_epoch)
        sizes = count(module.network, image_data(trainer).image_size)
        weights = prunable_weights(module.network)
        if isinstance(module, PrunedClassifier):
            weights = module.masks.weights_of(module.network)
        zeros = sum(int((weight == 0).sum()) for weight in weights.values())
        facts = StageFacts(
            sizes=sizes,
            sparsity=zeros / sum(weight.numel() for weight in weights.values()),
            lr=float(trainer.lr_scheduler_configs[0].scheduler.base_lrs[0]),
        )
        results = {
            "val_accuracy_last": None if accuracy is None else round(accuracy, 6),
            "val_accuracy_best": None if self._best["accuracy"] is None else round(self._best["accuracy"], 6),
            "best_epoch": self._best["epoch"],
            "parameters": sizes.parameters,
            "nonzero_parameters": sizes.nonzero_parameters,
            "macs": sizes.macs,
            "nonzero_macs": sizes.nonzero_macs,
        }
        cells = [column.csv(self._stages[k][column.name], facts) for column in in_order()]
        return {"stage": k + 1} | {name: cell for part in cells for name, cell in part.items()} | results

    def _write(self) -> None:
        if self._folder is not None and self._rows:
            cells = columns(self._rows)
            rows = [cells | row for row in self._rows]  # an older version may lack a column
            write_csv(self._folder / "stages.csv", rows, list(cells))


def show(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the rows of stages.csv as a table, and the command that opens the curves."""
    caption = "accuracy: validation, last and best epoch; sizes: without zeros"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    shown = [column for column in in_order() if column.is_in_report(rows)]
    names = ["stage", *(column.title for column in shown), "accuracy", "best", "params", "MACs"]
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        table.add_row(
            str(row["stage"]),
            *(column.report_text(row) for column in shown),
            _percent(row["val_accuracy_last"]),
            _percent(row["val_accuracy_best"]),
            short(row["nonzero_parameters"]),
            short(row["nonzero_macs"]),
        )
    console = Console()
    console.print(f"Run: {folder}", soft_wrap=True, highlight=False)
    console.print(table)
    if any(folder.glob("events.out.tfevents.*")):
        console.print(f"Curves: tensorboard --logdir {folder.parent}", soft_wrap=True, highlight=False)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
