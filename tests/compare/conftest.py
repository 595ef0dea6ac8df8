"""A run and its exported files."""

from pathlib import Path

import pytest

from dasc.cli import main
from tests.support.checkpoints import train


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a ResNet8 whose stages end with 0 and 60 % zeros, and the files of its best checkpoint."""
    folder = train(tmp_path_factory.mktemp("compared"), depth=8)
    fast = ("--latency_seconds", "0")
    best = ("export", "--ckpt_path", "lightning_logs/version_0")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["dasc"])
        words = ("--format", "onnx,sparse", "--int8", "--max_drop", "100", *fast)
        main([*best, *words])
        main([*best, "--format", "torch_export", "--preprocess", "--output", "pt2", *fast])
    return folder
