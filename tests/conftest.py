import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from dasc.networks import CifarResNet

torch.set_num_threads(1)  # the tests run side by side

TINY = """\
stages:
  - {epochs: 2, sparsity: 0.0, magnitude: 14}
  - {epochs: 2, sparsity: 0.3, magnitude: [12, 8]}
  - {epochs: 2, sparsity: 0.6, magnitude: random}
model:
  class_path: PrunedClassifier
  init_args:
    network: {class_path: CifarResNet, init_args: {depth: 8}}
data:
  class_path: ImageData
  init_args: {dataset: digits, batch_size: 128}
trainer: {accelerator: cpu, devices: 1, enable_progress_bar: false}
"""

SMALL = TINY.replace("batch_size: 128", "batch_size: 32, train_size: 256")
"""The same number of steps, with fewer images in each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA GPU, and torch.cuda.is_available() is False")
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of three short stages, 8 steps an epoch."""
    path = tmp_path_factory.mktemp("configs") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def shrinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on fewer images, with auxiliary blocks that are dropped where the network is pruned."""
    path = tmp_path_factory.mktemp("configs") / "shrinking.yaml"
    path.write_text(
        SMALL.replace("magnitude: 14", "magnitude: 14, auxiliary: 2").replace("[12, 8]", "[12, 8], auxiliary: 1")
    )
    return path


@pytest.fixture(scope="session")
def distilling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on fewer images, with a teacher that chooses among views of each image."""
    folder = tmp_path_factory.mktemp("configs")
    torch.manual_seed(7)
    torch.save(CifarResNet(10, depth=14).state_dict(), folder / "teacher.pt")
    teacher = {"path": str(folder / "teacher.pt"), "network": "CifarResNet", "network_args": {"depth": 14}}
    config = yaml.safe_load(SMALL)
    config["model"]["class_path"] = "DistilledClassifier"
    config["model"]["init_args"] |= {"teacher": teacher, "selection": {"views": 2}}
    (folder / "distilling.yaml").write_text(yaml.safe_dump(config))
    return folder / "distilling.yaml"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test has its own folder, no command line, and leaves no seed behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dasc"])
    before = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    with torch.random.fork_rng(devices=[]):
        yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
