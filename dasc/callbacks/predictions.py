"""The answer of `dasc predict`."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dasc.callbacks.context import image_data
from dasc.callbacks.files import write_csv
from dasc.data import Batch
from dasc.modules import gather


class PredictionWriter(Callback):
    """Writes predictions.csv: for each test image its path or place, the most probable class and its probability.

    Args:
        folder: Where the file goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[tuple[int, int, float]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's answers."""
        probability, place = outputs.max(1)
        self._rows += zip(batch.indices.tolist(), place.tolist(), probability.tolist(), strict=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the answers of all processes together, in the order of the set, and write them."""
        rows = sorted(row for part in gather(self._rows) for row in part)
        if not trainer.is_global_zero:
            return
        data = image_data(trainer)
        path = self._folder / "predictions.csv"
        image = "index" if data.test_paths is None else "path"
        names = range(len(rows)) if data.test_paths is None else data.test_paths
        table = [{image: names[i], "class": data.class_names[k], "probability": f"{p:.6f}"} for i, k, p in rows]
        write_csv(path, table, (image, "class", "probability"))
        print(f"{len(rows)} predictions: {path}")
