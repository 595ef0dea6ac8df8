"""Put on PYTHONPATH of the commands that the tests start: writes down what one process does."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dasc.callbacks.context import image_data
from dasc.data import Batch
from dasc.modules import PrunedClassifier


class Witness(Callback):
    """Writes rank-N.json into `folder`: a value an epoch of what the names say."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.seen: dict[str, list[Any]] = defaultdict(list)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen["indices"].append([])
        self.seen["operations"].append([])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.seen["indices"][-1] += batch.indices.tolist()
        data = image_data(trainer)
        self.seen["operations"][-1] += data.pipeline.draws(batch, data.training_epoch()).operation.tolist()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PrunedClassifier)
        masks = pl_module.masks.by_name()
        weights = pl_module.masks.weights_of(pl_module.network)
        self.seen["parameters"].append(fingerprint(pl_module.network.parameters()))
        self.seen["masks"].append(fingerprint(masks.values()))
        self.seen["masked_weights_not_zero"].append(sum(int((weights[k][~m] != 0).sum()) for k, m in masks.items()))
        everything = torch.cat([weight.detach().flatten() for weight in weights.values()])
        self.seen["sparsity"].append(float((everything == 0).float().mean()))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(self.seen))


def fingerprint(tensors: Iterable[Tensor]) -> str:
    return hashlib.sha256(b"".join(t.detach().cpu().numpy().tobytes() for t in tensors)).hexdigest()
