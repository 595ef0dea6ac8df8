"""The commands on a table with channels: plan, resume, scores, and runs that start from a smaller network."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.networks import CifarResNet, count
from dasc.stages import Stages
from tests.conftest import TINY
from tests.support.errors import exit_message
from tests.test_plan import table
from tests.test_resume import assert_same_end, fit, kill, saved

ROWS: list[dict[str, Any]] = [
    {"epochs": 2, "magnitude": 14, "auxiliary": 1},
    {"epochs": 2, "magnitude": 8, "sparsity": 0.3, "channels": 0.25, "auxiliary": 1},
    {"epochs": 2, "magnitude": 4, "sparsity": 0.6, "channels": 0.5},
]
ROUNDED = {"class_path": "ChannelL1", "init_args": {"round_to": 4}}


@pytest.fixture(scope="module")
def thinning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with auxiliary blocks, zeros and channels, 8 steps an epoch and 2 epochs a stage."""
    config = yaml.safe_load(TINY) | {"stages": ROWS}
    config["model"]["init_args"]["channel_criterion"] = ROUNDED
    path = tmp_path_factory.mktemp("configs") / "thinning.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def alone(thinning: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(thinning, tmp_path_factory.mktemp("alone"), 1)


@pytest.fixture(scope="module")
def together(thinning: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(thinning, tmp_path_factory.mktemp("together"), 2)


# in the first stage, at its boundary, after it, and after two boundaries
KILLS = [
    *((1, 16), (2, 16)),
    *(pytest.param(*kill, marks=pytest.mark.slow) for kill in ((1, 11), (1, 33), (2, 27))),
]


@pytest.mark.parametrize(("processes", "step"), KILLS)
def test_a_killed_run_ends_as_an_unbroken_one(
    processes: int, step: int, thinning: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: Path = request.getfixturevalue("alone" if processes == 1 else "together")
    kill(thinning, tmp_path, processes, "KillAt", "--trainer.callbacks.step", step)
    assert_same_end(fit(thinning, tmp_path, processes, "--ckpt_path", "last"), whole)


def test_processes_keep_the_same_channels(together: Path) -> None:
    network, masks, recorded = load_network(together / "checkpoints" / "last.ckpt")
    assert recorded["channels"]["share"] == 0.5
    assert all(mask.shape == network.get_parameter(name).shape for name, mask in masks.items())
    assert network.get_parameter("layer3.0.conv2.weight").shape[:2] == (32, 32)


def test_the_files_of_a_run_have_the_sizes_of_its_plan(
    alone: Path, thinning: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    main(["plan", "--config", str(thinning)])
    text = capsys.readouterr().out
    with (alone / "stages.csv").open() as file:
        ran = list(csv.DictReader(file))
    planned = table(text)[:3]
    assert [row["channels"] for row in planned] == ["0.0%", "25.0%", "50.0%"]
    assert [row["channels"] for row in ran] == ["0.0", "0.25", "0.5"]
    for plan, row in zip(planned, ran, strict=True):
        assert plan["params"].replace(",", "") == row["nonzero_parameters"]
        assert plan["MACs"].replace(",", "") == row["nonzero_macs"]
    dense = count(CifarResNet(10, 8), (8, 8))
    assert int(ran[2]["parameters"]) / dense.parameters == pytest.approx(0.25, abs=0.01)
    said = " ".join(text.split())
    assert "where a share c of the channels is removed, parameters fall by about 1 - (1 - c)^2" in said
    assert "channels removed with ChannelL1 (scope layer, round_to 4)" in said
    assert "estimated" not in said


def test_a_plan_marks_sizes_that_depend_on_the_weights(thinning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "--stages=[{epochs: 1}, {epochs: 1, channels: 0.5}]"
    main(["plan", "--config", str(thinning), rows, "--model.channel_criterion.scope=global"])
    text = capsys.readouterr().out
    said = " ".join(text.split())
    assert "with scope global, params and MACs are estimated by the weights before training" in said
    first, second = table(text)[:2]
    assert int(second["MACs"].replace(",", "")) < int(first["MACs"].replace(",", ""))
    main(["plan", "--config", str(thinning), "--stages=[{epochs: 1}]"])
    assert "channel" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "width"), [("stage-1", 16), ("stage-2-best", 12), ("last", 8)])
def test_checkpoints_before_and_after_a_removal_are_scored(
    name: str, width: int, alone: Path, thinning: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = alone / "checkpoints" / f"{name}.ckpt"
    network = load_network(path).network
    assert network.get_parameter("conv1.weight").shape[0] == width
    assert ("channels" in saved(alone, name)["dasc"]) == (width < 16)
    accuracies = []
    for config in (thinning, tiny):  # with and without channels in the table
        main(["validate", "--config", str(config), f"--ckpt_path={path}"])
        accuracies += re.findall(r"accuracy  ([\d.]+) %", capsys.readouterr().out)
    assert len(set(accuracies)) == 1
    if "best" not in name:
        with (alone / "stages.csv").open() as file:
            row = list(csv.DictReader(file))[0 if name == "stage-1" else 2]
        assert accuracies[0] == f"{100 * float(row['val_accuracy_last']):.2f}"


@pytest.mark.parametrize("load", ["weights", "masks", "both"])
def test_a_run_starts_from_a_smaller_network(load: str, alone: Path, thinning: Path, tmp_path: Path) -> None:
    path = alone / "checkpoints" / "last.ckpt"
    start = [f"--init_from.path={path}", f"--init_from.load={load}", "--trainer.limit_train_batches=1"]
    rows = "--stages=[{epochs: 1, sparsity: 0.65, channels: 0.5}, {epochs: 1, sparsity: 0.65, channels: 0.75}]"
    main(["fit", "--config", str(thinning), rows, *start])
    first, last = (
        load_network(f"lightning_logs/version_0/checkpoints/{name}.ckpt").network for name in ("stage-1", "last")
    )
    assert first.get_parameter("conv1.weight").shape[0] == 8
    assert last.get_parameter("conv1.weight").shape[0] == 4
    assert bool(first.get_parameter("layer3.0.conv1.weight").any())


def test_a_start_with_fewer_channels_than_the_first_row_is_refused(
    alone: Path, thinning: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = alone / "checkpoints" / "last.ckpt"
    said = exit_message(
        ["fit", "--config", str(thinning), "--stages=[{epochs: 1, channels: 0.25}]", f"--init_from.path={path}"], capsys
    )
    assert "has lost 0.5 of its channels, the first row of stages asks for 0.25: write channels: 0.5 there" in said
    assert not Path("lightning_logs").exists()


def test_a_changed_criterion_does_not_resume(alone: Path, thinning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = alone / "checkpoints" / "stage-2.ckpt"
    words = ["plan", "--config", str(thinning), f"--ckpt_path={path}", "--model.channel_criterion.round_to=2"]
    assert "recipe.channel_criterion.round_to is 2, recorded is 4" in exit_message(words, capsys)


def test_a_run_without_channels_writes_nothing_about_them(tiny: Path) -> None:
    main(["fit", "--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    run = Path("lightning_logs/version_0")
    assert "channels" not in (run / "stages.csv").read_text()
    assert "channels" not in saved(run)["dasc"]
    assert "channel_criterion" not in saved(run)["dasc"]["recipe"]


def test_a_student_with_a_teacher_of_its_own_loses_channels(distilling: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(distilling.read_text())
    config["model"]["init_args"] |= {"teacher": {"stage": 1}, "selection": "none"}
    config["stages"] = [{"epochs": 1}, {"epochs": 1, "channels": 0.5}, {"epochs": 1, "channels": 0.75}]
    path = tmp_path / "student.yaml"
    path.write_text(yaml.safe_dump(config))
    whole = fit(path, tmp_path / "whole", 1, "--trainer.limit_train_batches", 2)
    teacher = saved(whole)["teacher"]
    assert teacher["state_dict"]["conv1.weight"].shape[0] == 16
    assert saved(whole)["state_dict"]["network.conv1.weight"].shape[0] == 4
    limit = ("--trainer.limit_train_batches", 2)
    kill(path, tmp_path / "killed", 1, "KillAt", "--trainer.callbacks.step", 4, *limit)
    assert_same_end(fit(path, tmp_path / "killed", 1, "--ckpt_path", "last", *limit), whole)


def test_an_averaged_run_that_is_killed_ends_as_an_unbroken_one(thinning: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(thinning.read_text())
    config["trainer"]["callbacks"] = [{"class_path": "WeightEMA", "init_args": {"decay": 0.9}}]
    config["model"]["init_args"]["recalibrate"] = 1
    path = tmp_path / "averaging.yaml"
    path.write_text(yaml.safe_dump(config))
    limit = ("--trainer.limit_train_batches", 2)
    whole = fit(path, tmp_path / "whole", 1, *limit)
    kill(path, tmp_path / "killed", 1, "KillAt", "--trainer.callbacks.step", 4, *limit)
    resumed = fit(path, tmp_path / "killed", 1, "--ckpt_path", "last", *limit)
    assert_same_end(resumed, whole)
    one, other = saved(whole)["current_model_state"], saved(resumed)["current_model_state"]
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"channels": 1}, "stage 1: channels is 1: write a number from 0 to below 1"),
        ({"channels": -0.1}, "stage 1: channels is -0.1: write a number from 0 to below 1"),
        ({"channels": "half"}, "stage 1: channels is half: write a number from 0 to below 1"),
        ({"channels": True}, "stage 1: channels is True: write a number from 0 to below 1"),
        ({"channels": None}, "stage 1: channels is empty: write a number from 0 to below 1, or leave it out for 0"),
    ],
)
def test_wrong_shares_are_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)):
        Stages.parse([{"epochs": 1, **row}])


def test_falling_shares_are_refused() -> None:
    said = "stage 2: channels 0.25 is below the 0.5 of the stage before it: removed channels do not come back"
    with pytest.raises(Exception, match=re.escape(said)):
        Stages.parse([{"epochs": 1, "channels": 0.5}, {"epochs": 1, "channels": 0.25}])


NETWORKS = {
    "mobilenet": "CifarMobileNetV2",
    "shufflenet": "CifarShuffleNetV2",
    "resnet18": "TorchvisionNetwork --model.network.name=resnet18",
    "mobilenet_v2": "TorchvisionNetwork --model.network.name=mobilenet_v2",
    "shufflenet_v2_x0_5": "TorchvisionNetwork --model.network.name=shufflenet_v2_x0_5",
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_other_networks_are_resumed_after_a_removal(network: str, tiny: Path, tmp_path: Path) -> None:
    words = (*f"--model.network={network}".split(), "--data.image_size=32", "--data.batch_size=16")
    words = (*words, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    words = (*words, "--stages=[{epochs: 1}, {epochs: 2, channels: 0.5, sparsity: 0.2}]")
    whole = fit(tiny, tmp_path / "whole", 1, *words)
    kill(tiny, tmp_path / "killed", 1, "KillAt", "--trainer.callbacks.step", 2, *words)
    assert_same_end(fit(tiny, tmp_path / "killed", 1, "--ckpt_path", "last", *words), whole)
    dense, half = (
        sum(p.numel() for p in load_network(whole / "checkpoints" / f"{name}.ckpt").network.parameters())
        for name in ("stage-1", "last")
    )
    assert half < (0.55 if "shuffle" in network.lower() else 0.3) * dense
