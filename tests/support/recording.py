"""Put on PYTHONPATH of the commands that the tests start: a callback that records what a training may use."""

import json
import os
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Record(Callback):
    """Writes PID.json into `folder`: the GPUs that the process may see, and its threads.

    Args:
        folder: An existing folder.
        exclusive: Whether a training fails that starts while another one has the same GPUs.
    """

    def __init__(self, folder: str, exclusive: bool) -> None:
        self.folder = Path(folder)
        self.exclusive = exclusive

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        self.lock = self.folder / f"{gpus}.lock"
        self.lock.touch(exist_ok=not self.exclusive)
        record = {"gpus": gpus, "threads": torch.get_num_threads()}
        (self.folder / f"{os.getpid()}.json").write_text(json.dumps(record))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lock.unlink(missing_ok=True)
