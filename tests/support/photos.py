"""A run on image files of three classes."""

from pathlib import Path

import pytest

from dasc.cli import main
from tests.support.files import make_folder

CONFIG = """\
stages: [{epochs: 1, magnitude: none}]
model: {class_path: Classifier, init_args: {network: {class_path: CifarResNet, init_args: {depth: 8}}}}
data:
  class_path: ImageData
  init_args: {dataset: folder, root: pets, batch_size: 8, image_size: 8, on_device: false, num_workers: 0}
trainer: {accelerator: cpu, devices: 1, enable_progress_bar: false}
"""
"""The crop is `resize`, so evaluated images have a margin."""

BEST = Path("lightning_logs", "version_0", "checkpoints", "best.ckpt")
"""Checkpoint of the run within its folder."""


def train_on_photos(folder: Path) -> Path:
    """Write config.yaml and pets/ into a folder, train on the photos there, and return the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["dasc"])
        Path("config.yaml").write_text(CONFIG)
        parts = {part: {"cat": 12, "dog": 12, "hämster": 12} for part in ("train", "val", "test")}
        make_folder(Path("pets"), parts, size=(13, 17), suffixes=(".png", ".JPG"))
        main(["fit", "--config", "config.yaml"])
    return folder
