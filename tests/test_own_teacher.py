"""A run that learns from its own network as it was at the end of an earlier stage."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from dasc.checkpoint import load_network
from dasc.cli import run
from dasc.modules import DistilledClassifier
from tests.support.command import dasc

TABLE = [
    {"epochs": 2, "magnitude": 14, "auxiliary": 2},
    {"epochs": 2, "sparsity": 0.3, "magnitude": 8, "auxiliary": 1},
    {"epochs": 1, "sparsity": 0.6},
]
"""8 steps an epoch: the second stage starts at step 16, the third at step 32."""

EMA = ("--trainer.callbacks+=WeightEMA", "--trainer.callbacks.decay=0.9")


@pytest.fixture(scope="module")
def config(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = yaml.safe_load(tiny.read_text()) | {"stages": TABLE}
    settings["model"]["class_path"] = "DistilledClassifier"
    settings["model"]["init_args"]["teacher"] = {"stage": 1}
    path = tmp_path_factory.mktemp("configs") / "own.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def fit(config: Path, root: Path, *args: object, killed: bool = False) -> Path:
    done = dasc("fit", "--config", config, "--trainer.default_root_dir", root, *args)
    assert (done.returncode != 0) == killed, done.stderr
    return root / "lightning_logs" / "version_0" / "checkpoints"


def saved(folder: Path, name: str) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / f"{name}.ckpt", weights_only=True)
    return checkpoint


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# killed in the second stage: the last checkpoint is the end of stage 1, which has no teacher yet, and a later one
@pytest.mark.parametrize("step", [20, 27])
@pytest.mark.parametrize(("processes", "averaging"), [(1, EMA), (2, ())], ids=["one with average", "two processes"])
def test_a_killed_run_ends_as_an_unbroken_one(
    step: int,
    processes: int,
    averaging: tuple[str, ...],
    config: Path,
    unbroken: dict[int, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    args = (*averaging, "--trainer.devices", processes)
    if processes not in unbroken:
        unbroken[processes] = fit(config, tmp_path_factory.mktemp("whole"), *args)
    kill = ("--trainer.callbacks+=killing.KillAt", "--trainer.callbacks.step", step)
    fit(config, tmp_path / "killed", *args, *kill, killed=True)
    moved = (tmp_path / "killed").rename(tmp_path / "moved")
    ended, whole = saved(fit(config, moved, *args, "--ckpt_path", "last"), "last"), saved(unbroken[processes], "last")
    assert_equal(ended["state_dict"], whole["state_dict"])
    assert_equal(ended["teacher"]["state_dict"], whole["teacher"]["state_dict"])
    assert ended["dasc"] == whole["dasc"]


@pytest.fixture(scope="module")
def unbroken() -> dict[int, Path]:
    """The checkpoints of whole runs by their number of processes."""
    return {}


@pytest.mark.parametrize("averaging", [(), EMA], ids=["trained weights", "averaged weights"])
def test_the_teacher_is_the_network_of_the_stages_checkpoint(
    averaging: tuple[str, ...], config: Path, tmp_path: Path
) -> None:
    one_batch = ("--trainer.limit_train_batches", "2", "--trainer.default_root_dir", str(tmp_path))
    made = run(["fit", "--config", str(config), *one_batch, *averaging])
    module, folder = made.model, tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    assert isinstance(module, DistilledClassifier)
    expected = load_network(folder / "stage-1.ckpt")
    assert expected.meta["weights"] == ("averaged" if averaging else "trained")
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(module.teacher.logits(images), expected.network(images))
    assert not any(part.training for part in module.teacher.network.modules())
    assert not any(parameter.requires_grad for parameter in module.teacher.network.parameters())
    assert "teacher" not in saved(folder, "stage-1")
    assert any(".auxiliary.1." in name for name in module.teacher.network.state_dict())
    assert not any(".auxiliary." in name for name in module.network.state_dict())


def test_up_to_the_end_of_its_stage_the_run_is_one_without_a_teacher(config: Path, tiny: Path, tmp_path: Path) -> None:
    quick = ("--trainer.limit_train_batches", 2, f"--stages={yaml.safe_dump(TABLE, default_flow_style=True)}")
    logged = ("--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'csv'}")
    distilled = fit(config, tmp_path / "distilled", *quick, *logged)
    plain = fit(tiny, tmp_path / "plain", *quick)
    first, last = ([saved(run, name)["state_dict"] for run in (distilled, plain)] for name in ("stage-1", "last"))
    assert_equal(*first)
    assert not torch.equal(*(state["network.conv1.weight"] for state in last))
    metrics = next((tmp_path / "csv").rglob("metrics.csv")).read_text().splitlines()
    kl = metrics[0].split(",").index("train/kl")
    assert [row.split(",")[kl] != "" for row in metrics[1:]] == [False, False, True, True, True]


def test_plan_names_the_stage(config: Path) -> None:
    done = dasc("plan", "--config", config)
    assert "own network after stage 1, alpha 0.1" in done.stdout
