"""Killed runs with averaged weights, resumed with --ckpt_path last: bit for bit as unbroken ones."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dasc.checkpoint import load_network
from dasc.cli import main
from tests.support.command import dasc
from tests.support.errors import exit_message
from tests.test_resume import assert_same_end, fit, kill, saved

EMA = {"class_path": "WeightEMA", "init_args": {"decay": 0.9}}
# 8 steps an epoch, 2 epochs a stage: in the first stage, at its boundary, after two boundaries
KILLS = (11, 16, 37)


@pytest.fixture(scope="module")
def averaging(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config with blocks to drop and pruning, and WeightEMA."""
    config = yaml.safe_load(shrinking.read_text())
    config["trainer"]["callbacks"] = [EMA]
    path = tmp_path_factory.mktemp("configs") / "averaging.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def alone(averaging: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(averaging, tmp_path_factory.mktemp("alone"), 1)


@pytest.fixture(scope="module")
def together(averaging: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(averaging, tmp_path_factory.mktemp("together"), 2)


def assert_same_weights(one: Path, other: Path) -> None:
    assert_same_end(one, other)
    for path in (one / "checkpoints").iterdir():
        a, b = saved(one, path.stem), saved(other, path.stem)
        for key in ("state_dict", "current_model_state"):
            assert a[key].keys() == b[key].keys()
            assert all(torch.equal(value, b[key][name]) for name, value in a[key].items()), (path.stem, key)
        assert a["averaging_state"] == b["averaging_state"]


@pytest.mark.parametrize("step", KILLS)
def test_a_killed_run_ends_as_an_unbroken_one(step: int, alone: Path, averaging: Path, tmp_path: Path) -> None:
    kill(averaging, tmp_path, 1, "KillAt", "--trainer.callbacks.step", step)
    assert_same_weights(fit(averaging, tmp_path, 1, "--ckpt_path", "last"), alone)


@pytest.mark.slow
def test_a_killed_run_of_two_processes_ends_as_an_unbroken_one(together: Path, averaging: Path, tmp_path: Path) -> None:
    kill(averaging, tmp_path, 2, "KillAt", "--trainer.callbacks.step", 27)
    assert_same_weights(fit(averaging, tmp_path, 2, "--ckpt_path", "last"), together)


@pytest.mark.parametrize("run", ["alone", "together"])
def test_the_zeros_in_checkpoints_are_those_of_the_table(run: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(run)
    with (folder / "stages.csv").open() as file:
        reached = [float(row["sparsity"]) for row in csv.DictReader(file)]
    assert reached == pytest.approx([0, 0.3, 0.6], abs=1e-3)
    names = {"stage-1": 0, "stage-2": 1, "stage-2-best": 1, "stage-3": 2, "best": 2, "last": 2}
    for name, stage in names.items():
        checkpoint = saved(folder, name)
        network, masks, meta = load_network(folder / "checkpoints" / f"{name}.ckpt")
        assert meta["weights"] == "averaged"
        weights = dict(network.named_parameters())
        zeros = sum(int((weights[key] == 0).sum()) for key in masks)
        total = sum(mask.numel() for mask in masks.values())
        assert zeros / total == pytest.approx(reached[stage], abs=5e-7), name
        assert all(mask.dtype == torch.bool for mask in masks.values())
        assert sum(int((~mask).sum()) for mask in masks.values()) == zeros
        average, trained = (checkpoint[key]["network.conv1.weight"] for key in ("state_dict", "current_model_state"))
        assert torch.equal(weights["conv1.weight"], average)
        assert not torch.equal(average, trained)


def test_the_accuracy_in_the_table_is_that_of_last(
    alone: Path, averaging: Path, shrinking: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (alone / "stages.csv").open() as file:
        *_, row = csv.DictReader(file)
    for config in (averaging, shrinking):  # with and without WeightEMA
        main(["validate", "--config", str(config), "--ckpt_path", str(alone / "checkpoints" / "last.ckpt")])
        assert f"accuracy  {100 * float(row['val_accuracy_last']):.2f} %" in capsys.readouterr().out


def test_a_run_is_resumed_with_its_own_average_only(
    alone: Path, shrinking: Path, averaging: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(alone / "checkpoints" / "stage-2.ckpt")
    recorded = "{'class': 'WeightEMA', 'decay': 0.9}"
    without = f"recipe.averaging is None, recorded is {recorded}"
    for command in ("fit", "plan"):
        assert without in exit_message([command, "--config", str(shrinking), "--ckpt_path", path], capsys)
        other = [command, "--config", str(averaging), "--trainer.callbacks.decay=0.8"]
        assert "recipe.averaging.decay is 0.8, recorded is 0.9" in exit_message([*other, "--ckpt_path", path], capsys)
    made = ["fit", "--config", str(shrinking), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"]
    main(made)
    plain = Path("lightning_logs/version_0/checkpoints/stage-2.ckpt")
    assert torch.load(plain, weights_only=True)["dasc"]["weights"] == "trained"
    reverse = exit_message([*made, "--trainer.callbacks+=WeightEMA", "--ckpt_path", str(plain)], capsys)
    assert "recipe.averaging is {'class': 'WeightEMA', 'decay': 0.999}, recorded is None" in reverse
    assert not (tmp_path / "lightning_logs" / "version_1").exists()


def test_a_checkpoint_from_before_averages_is_resumed_without_one(
    shrinking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["fit", "--config", str(shrinking), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"]
    main(short)
    path = Path("lightning_logs/version_0/checkpoints/stage-2.ckpt")
    old: dict[str, Any] = torch.load(path, weights_only=True)
    del old["dasc"]["recipe"]["averaging"], old["dasc"]["weights"], old["dasc"]["checksum"]
    torch.save(old, "old.ckpt")
    main([*short, "--ckpt_path", "old.ckpt"])
    assert "recorded is None" in exit_message(
        [*short, "--trainer.callbacks+=WeightEMA", "--ckpt_path", "old.ckpt"], capsys
    )


def test_last_finds_the_run_with_the_same_average(
    alone: Path, averaging: Path, shrinking: Path, tmp_path: Path
) -> None:
    (tmp_path / "lightning_logs").mkdir()
    (tmp_path / "lightning_logs" / "version_4").symlink_to(alone)
    held = "averaged weights (WeightEMA, decay 0.9)"
    base = ("--trainer.default_root_dir", tmp_path, "--ckpt_path", "last")
    planned, again = (dasc(command, "--config", averaging, *base) for command in ("plan", "fit"))
    assert f"has 6 epochs behind it; it holds {held}" in planned.stdout
    assert f"It holds {held}" in again.stdout
    for config, options in ((shrinking, ()), (averaging, ("--trainer.callbacks.decay=0.8",))):
        done = dasc("plan", "--config", config, *base, *options)
        assert "starting a new one" in done.stdout
        assert "version_4: this run cannot continue that checkpoint: recipe.averaging" in done.stdout


def test_a_run_says_which_weights_its_checkpoints_hold(
    shrinking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["fit", "--config", str(shrinking), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"]
    main([*short, "--trainer.callbacks+=WeightEMA", "--trainer.callbacks.decay=0.99"])
    said = "Checkpoints (last, best, stage-K) hold averaged weights (WeightEMA, decay 0.99)"
    assert said in capsys.readouterr().out
    saved_config = yaml.safe_load((tmp_path / "lightning_logs" / "version_0" / "config.yaml").read_text())
    assert saved_config["trainer"]["callbacks"][0]["init_args"] == {"decay": 0.99}
    main(["fit", "--config", "lightning_logs/version_0/config.yaml"])
    assert said in capsys.readouterr().out


def test_a_student_is_averaged_without_its_teacher(distilling: Path, tmp_path: Path) -> None:
    main(
        [
            *("fit", "--config", str(distilling), "--epochs_scale=0.5", "--trainer.limit_train_batches=2"),
            *("--trainer.callbacks+=WeightEMA", "--trainer.callbacks.decay=0.5"),
        ]
    )
    last = saved(tmp_path / "lightning_logs" / "version_0")
    assert last["dasc"]["weights"] == "averaged"
    assert {name.partition(".")[0] for name in last["state_dict"]} == {"network", "masks"}
    assert last["state_dict"].keys() == last["current_model_state"].keys()
