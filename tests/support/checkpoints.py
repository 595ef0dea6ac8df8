"""Checkpoints of short trainings on a few digits."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dasc.cli import main

STAGES: list[dict[str, Any]] = [{"epochs": 6, "magnitude": 1}, {"epochs": 2, "sparsity": 0.6, "magnitude": "none"}]
LAST = Path("lightning_logs", "version_0", "checkpoints", "last.ckpt")
"""Checkpoint of the run within its folder; a `best.ckpt` is beside it."""


def train(
    folder: Path,
    network: str = "CifarResNet",
    stages: list[dict[str, Any]] = STAGES,
    precision: str = "32",
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **init_args: Any,
) -> Path:
    """Train a network, and return the folder, which contains lightning_logs/.

    Args:
        folder: The folder.
        network: Class of the network.
        stages: The table of stages.
        precision: Lightning's precision.
        model: `{class_path, init_args}` of the module, without the network; None: a `PrunedClassifier`.
        data: Arguments of `ImageData`; None: the digits.
        **init_args: Arguments of the network.
    """
    module = model or {"class_path": "PrunedClassifier", "init_args": {}}
    module["init_args"]["network"] = {"class_path": network, "init_args": init_args}
    settings = data or {"dataset": "digits", "batch_size": 64, "train_size": 256}
    trainer = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "precision": precision}
    config = {
        "stages": stages,
        "model": module,
        "data": {"class_path": "ImageData", "init_args": settings},
        "trainer": trainer,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["dasc"])
        Path("config.yaml").write_text(yaml.safe_dump(config))
        main(["fit", "--config", "config.yaml"])
    return folder
