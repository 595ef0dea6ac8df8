"""Killed runs, with pruning and blocks to drop, continued with --ckpt_path last: bit for bit as unbroken ones."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dasc.networks import CifarResNet
from tests.support.command import dasc

# 8 steps an epoch, 2 epochs a stage: in the first stage, at its boundary, after two boundaries
KILLS = (11, 16, 37)


def fit(config: Path, root: Path, processes: int, *args: object) -> Path:
    done = dasc("fit", "--config", config, "--trainer.default_root_dir", root, "--trainer.devices", processes, *args)
    assert done.returncode == 0, done.stderr
    return root / "lightning_logs" / "version_0"


def kill(config: Path, root: Path, processes: int, callback: str, *args: object) -> None:
    base = ("fit", "--config", config, "--trainer.default_root_dir", root, "--trainer.devices", processes)
    done = dasc(*base, f"--trainer.callbacks+=killing.{callback}", *args)
    assert done.returncode != 0, "the run was not killed"


@pytest.fixture(scope="module")
def alone(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(shrinking, tmp_path_factory.mktemp("alone"), 1)


@pytest.fixture(scope="module")
def together(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(shrinking, tmp_path_factory.mktemp("together"), 2)


def saved(run: Path, name: str = "last") -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return checkpoint


def assert_same_end(one: Path, other: Path) -> None:
    a, b = saved(one), saved(other)
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for key, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][key]), key
    momentum = [[s["momentum_buffer"] for s in c["optimizer_states"][0]["state"].values()] for c in (a, b)]
    assert all(torch.equal(x, y) for x, y in zip(*momentum, strict=True))
    assert (one / "stages.csv").read_bytes() == (other / "stages.csv").read_bytes()
    names = [{path.name for path in (run / "checkpoints").iterdir()} for run in (one, other)]
    assert names[0] == names[1]
    for name in sorted(names[0]):
        x, y = saved(one, Path(name).stem), saved(other, Path(name).stem)
        assert x["dasc"] == y["dasc"], name


@pytest.mark.parametrize("step", KILLS)
@pytest.mark.parametrize(("processes", "unbroken"), [(1, "alone"), (2, "together")], ids=["one", "two processes"])
def test_a_killed_run_ends_as_an_unbroken_one(
    processes: int, unbroken: str, step: int, shrinking: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: Path = request.getfixturevalue(unbroken)
    kill(shrinking, tmp_path, processes, "KillAt", "--trainer.callbacks.step", step)
    before = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(before, weights_only=True)["global_step"] == step // 8 * 8
    continued = fit(shrinking, tmp_path, processes, "--ckpt_path", "last")
    assert_same_end(continued, whole)
    assert not (continued.parent / "version_1").exists()


@pytest.mark.parametrize("processes", [1, 2], ids=["one", "two processes"])
def test_a_killed_student_ends_as_an_unbroken_one(processes: int, distilling: Path, tmp_path: Path) -> None:
    whole = fit(distilling, tmp_path / "whole", processes)
    kill(distilling, tmp_path / "killed", processes, "KillAt", "--trainer.callbacks.step", 16)
    continued = fit(distilling, tmp_path / "killed", processes, "--ckpt_path", "last")
    assert_same_end(continued, whole)
    assert (continued / "selection.csv").read_bytes() == (whole / "selection.csv").read_bytes()


def test_a_student_goes_on_with_its_own_teacher_only(distilling: Path, tmp_path: Path) -> None:
    args = ("--trainer.limit_train_batches", 1)
    last = fit(distilling, tmp_path, 1, *args) / "checkpoints" / "stage-1.ckpt"
    torch.manual_seed(8)
    torch.save(CifarResNet(10, depth=14).state_dict(), tmp_path / "other.pt")
    other = ("--model.teacher.path", tmp_path / "other.pt")
    done = dasc("fit", "--config", distilling, *args, "--ckpt_path", last, *other)
    assert done.returncode == 2
    assert "recipe.teacher is" in done.stderr


def test_a_crash_while_a_checkpoint_is_written_leaves_the_one_before_it(
    alone: Path, shrinking: Path, tmp_path: Path
) -> None:
    kill(shrinking, tmp_path, 1, "KillWhileSaving", "--trainer.callbacks.epoch", 3)
    half = tmp_path / "lightning_logs" / "version_0"
    assert saved(half)["dasc"]["epoch"] == 2
    # of the 1000 bytes, the last 22 are kept back: they may be the end of the archive, which gets the checksum
    assert any(path.stat().st_size == 978 for path in (half / "checkpoints").iterdir()), "the kill came too early"
    assert_same_end(fit(shrinking, tmp_path, 1, "--ckpt_path", "last"), alone)


def test_last_without_a_run_starts_one_and_says_so(shrinking: Path, tmp_path: Path) -> None:
    done = dasc(
        *("fit", "--config", shrinking, "--trainer.default_root_dir", tmp_path, "--ckpt_path", "last"),
        *("--epochs_scale", 0.5),
    )
    assert done.returncode == 0, done.stderr
    assert "starting a new one" in done.stdout
    assert (tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt").exists()


def test_last_passes_over_runs_of_another_config(alone: Path, shrinking: Path, tmp_path: Path) -> None:
    (tmp_path / "lightning_logs").mkdir()
    (tmp_path / "lightning_logs" / "version_4").symlink_to(alone)
    changed = ("--model.network.depth", 14)
    done = dasc(
        *("fit", "--config", shrinking, "--trainer.default_root_dir", tmp_path, "--ckpt_path", "last"),
        *("--epochs_scale", 0.5, *changed),
    )
    assert done.returncode == 0, done.stderr
    assert "starting a new one" in done.stdout
    assert "version_4: this run cannot continue that checkpoint: network.init_args.depth is 14" in done.stdout
    assert (tmp_path / "lightning_logs" / "version_5" / "checkpoints" / "best.ckpt").exists()
