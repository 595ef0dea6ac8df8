"""Runs that end before their table does: what is recorded, what is printed, and how they resume."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc.cli import main
from dasc.stages import Stages
from dasc.stopping import describe_stop
from tests.support.command import dasc
from tests.support.killing import StopAt

# 8 steps an epoch, 2 epochs a stage, 3 stages


class Rates(Callback):
    """Keeps the learning rate of every step by epoch."""

    seen: dict[int, list[float]]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            type(self).seen = {}
        self.seen[trainer.current_epoch] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.seen[trainer.current_epoch].append(optimizer.param_groups[0]["lr"])


RATES = f"--trainer.callbacks+={__name__}.Rates"


def fit(config: Path, root: Path, *args: str) -> Path:
    main(["fit", "--config", str(config), f"--trainer.default_root_dir={root}", RATES, *args])
    return root / "lightning_logs" / "version_0"


def last(run: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def assert_same_end(one: Path, other: Path) -> None:
    states = [last(run)["state_dict"] for run in (one, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    assert (one / "stages.csv").read_bytes() == (other / "stages.csv").read_bytes()


def curves(run: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[float]]]:
    """An uninterrupted run, and its learning rates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        return fit(tiny, tmp_path_factory.mktemp("whole")), Rates.seen


def test_an_epoch_that_is_cut_short_is_repeated_and_never_recorded(
    whole: tuple[Path, dict[int, list[float]]], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = ["--trainer.callbacks+=tests.support.killing.StopAt", "--trainer.callbacks.step=12"]
    run = fit(tiny, tmp_path, *stop)  # within the last epoch of stage 1
    assert len(Rates.seen[1]) == 5
    assert (last(run)["dasc"]["epochs_done"], last(run)["global_step"]) == (1, 8)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "stage-1-best.ckpt"}
    assert not (run / "stages.csv").exists()
    assert all(steps == [0] for steps in curves(run).values())
    assert len((run / "timing.csv").read_text().splitlines()) == 2
    assert "Stopped by a callback (trainer.should_stop) after 1 of 6 epochs" in capsys.readouterr().out
    fit(tiny, tmp_path, "--ckpt_path=last")
    assert_same_end(run, whole[0])
    rates = {epoch: lrs for epoch, lrs in Rates.seen.items() if epoch > 0}
    assert rates == {epoch: lrs for epoch, lrs in whole[1].items() if epoch > 0}
    assert all(steps == list(range(6)) for tag, steps in curves(run).items() if tag.startswith(("train", "val")))


def test_early_stopping_within_an_epoch_records_whole_epochs_only(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = "{class_path: EarlyStopping, init_args: {monitor: val/loss, mode: max, patience: 5, min_delta: 1000}}"
    args = ["--trainer.val_check_interval=0.25", f"--trainer.callbacks+={early}"]
    run = fit(tiny, tmp_path, *args)  # 4 validations an epoch, the 6th of them is within epoch 2
    assert last(run)["dasc"]["epochs_done"] == 1
    said = capsys.readouterr().out
    assert "Stopped by EarlyStopping on val/loss after 1 of 6 epochs: stage 1 has 1 of 2 epochs" in said
    assert "stages 2 to 3 are not trained. To resume: dasc fit --config" in said
    assert said.rstrip().endswith("--ckpt_path last")


@pytest.mark.parametrize(("least", "epochs"), [("min_epochs=1", 2), ("min_epochs=4", 4), ("min_steps=24", 3)])
def test_early_stopping_waits(least: str, epochs: int, tiny: Path, tmp_path: Path) -> None:
    early = "{class_path: EarlyStopping, init_args: {monitor: val/loss, mode: max, patience: 1, min_delta: 1000}}"
    run = fit(tiny, tmp_path, f"--trainer.{least}", f"--trainer.callbacks+={early}")
    assert last(run)["dasc"]["epochs_done"] == epochs


def test_a_run_out_of_time_says_how_to_resume(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tiny, tmp_path, "--trainer.max_time=00:00:00:00")
    said = capsys.readouterr().out
    assert "Stopped by trainer.max_time after 0 of 6 epochs: stages 1 to 3 are not trained" in said
    assert "No epoch is complete: start it again" in said


@pytest.mark.parametrize(("name", "status", "said"), [("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C")])
def test_a_signal_ends_a_run_with_the_status_of_the_shell(
    name: str, status: int, said: str, whole: tuple[Path, Any], tiny: Path, tmp_path: Path
) -> None:
    base = ("fit", "--config", tiny, "--trainer.default_root_dir", tmp_path)
    stopped = dasc(*base, "--trainer.callbacks+=killing.SignalAt", "--trainer.callbacks.step=20",
                   f"--trainer.callbacks.name={name}")  # fmt: skip
    assert stopped.returncode == status, stopped.stderr
    lines = [line for line in stopped.stderr.splitlines() if line.startswith("dasc fit: ")]
    assert len(lines) == 1
    assert f"Stopped by {said} after 2 of 6 epochs: stages 2 to 3 are not trained. To resume: dasc fit" in lines[0]
    resumed = dasc(*base, "--ckpt_path", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(tmp_path / "lightning_logs" / "version_0", whole[0])


EPOCH_1 = "after 1 of 6 epochs: stage 1 has 1 of 2 epochs, stages 2 to 3 are not trained. To resume: dasc fit --config"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "epoch", "devices", "said"),
    [
        ("__init__", -1, 1, "before the training started: run the same command again"),
        ("setup", -1, 1, "after 0 of 6 epochs: stages 1 to 3 are not trained. No epoch is complete: start it again"),
        ("on_validation_start", 1, 1, EPOCH_1),
        ("on_train_batch_start", 1, 2, EPOCH_1),
        ("teardown", -1, 1, "after 6 of 6 epochs: the run is complete"),
    ],
)
def test_ctrl_c_ends_in_one_sentence_in_every_phase(
    hook: str, epoch: int, devices: int, said: str, tiny: Path, tmp_path: Path
) -> None:
    stopped = dasc(
        *("fit", "--config", tiny, "--trainer.default_root_dir", tmp_path, "--trainer.limit_train_batches=1"),
        *(f"--trainer.devices={devices}", "--trainer.callbacks+=killing.InterruptIn"),
        *(f"--trainer.callbacks.hook={hook}", f"--trainer.callbacks.epoch={epoch}"),
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "Child process" not in stopped.stderr
    lines = [line for line in stopped.stderr.splitlines() if "Stopped by" in line]
    assert len(lines) == 1, stopped.stderr
    assert lines[0].startswith(f"dasc fit: Stopped by Ctrl-C {said}"), lines[0]


def test_a_run_that_is_stopped_in_its_first_epoch_resumes_from_a_checkpoint_within_it(
    tiny: Path, tmp_path: Path
) -> None:
    save = "{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, filename: '{step}'}}"
    base = ("fit", "--config", tiny, "--trainer.default_root_dir", tmp_path, "--trainer.limit_train_batches=2",
            f"--trainer.callbacks+={save}")  # fmt: skip
    stopped = dasc(*base, "--trainer.callbacks+=killing.SignalAt", "--trainer.callbacks.step=1",
                   "--trainer.callbacks.name=SIGINT")  # fmt: skip
    assert "after 0 of 6 epochs: stages 1 to 3 are not trained. To resume: dasc fit" in stopped.stderr
    assert stopped.stderr.rstrip().endswith("--ckpt_path last")
    resumed = dasc(*base, "--ckpt_path", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert len((tmp_path / "lightning_logs" / "version_0" / "timing.csv").read_text().splitlines()) == 1 + 6
    assert last(tmp_path / "lightning_logs" / "version_0")["dasc"]["epochs_done"] == 6


def test_sigterm_ends_a_run_of_two_processes(tiny: Path, tmp_path: Path) -> None:
    base = ("fit", "--config", tiny, "--trainer.default_root_dir", tmp_path, "--trainer.devices=2")
    stopped = dasc(*base, "--trainer.callbacks+=killing.SignalAt", "--trainer.callbacks.step=12",
                   "--trainer.callbacks.name=SIGTERM")  # fmt: skip
    assert stopped.returncode == 143, stopped.stderr
    assert "Stopped by SIGTERM after 1 of 6 epochs" in stopped.stderr
    assert last(tmp_path / "lightning_logs" / "version_0")["dasc"]["epochs_done"] == 1


class PoisonAt(Callback):
    """Makes a weight NaN just before optimizer step `step` (from 0)."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            next(pl_module.parameters()).data[0] = torch.nan


@pytest.mark.parametrize("step", [9, 15])  # within the epoch, and in its last step
def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_epoch(
    step: int, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        fit(tiny, tmp_path, f"--trainer.callbacks+={__name__}.PoisonAt", f"--trainer.callbacks.step={step}")
    assert stop.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dasc fit: ")]
    assert len(said) == 1
    assert "train/loss is nan in epoch 2 of 6 (stage 1); last.ckpt holds epoch 1. Try a lower learning rate" in said[0]
    run = tmp_path / "lightning_logs" / "version_0"
    state = last(run)
    assert state["dasc"]["epochs_done"] == 1
    assert all(bool(value.isfinite().all()) for value in state["state_dict"].values())
    assert not (run / "stages.csv").exists()


def test_means_are_over_the_batches_that_were_trained(tiny: Path, tmp_path: Path) -> None:
    # a cut epoch is not logged, but a monitor sees its mean
    module = StopAt.__module__
    seen = f"--trainer.callbacks+={__name__}.SeenLoss"
    fit(tiny, tmp_path, f"--trainer.callbacks+={module}.StopAt", "--trainer.callbacks.step=2", seen)
    assert SeenLoss.mean == pytest.approx(sum(SeenLoss.losses) / 3, rel=1e-6)
    assert len(SeenLoss.losses) == 3


class SeenLoss(Callback):
    losses: list[float]
    mean: float

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        type(self).losses = [] if trainer.global_step == 1 else self.losses
        self.losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        type(self).mean = pl_module.train_means()["loss"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (0, "after 0 of 5 epochs: stages 1 to 3 are not trained. No epoch is complete: start it again"),
        (1, "after 1 of 5 epochs: stage 1 has 1 of 2 epochs, stages 2 to 3 are not trained. To resume: dasc fit a"),
        (2, "after 2 of 5 epochs: stages 2 to 3 are not trained. To resume: dasc fit a --ckpt_path last"),
        (3, "after 3 of 5 epochs: stage 2 has 1 of 2 epochs, stage 3 is not trained. To resume:"),
        (4, "after 4 of 5 epochs: stage 3 is not trained. To resume:"),
        (5, "after 5 of 5 epochs: the run is complete"),
    ],
)
def test_the_rest_of_the_table_is_described(done: int, said: str) -> None:
    stages = Stages.parse([{"epochs": 2}, {"epochs": 2}, {"epochs": 1}])
    given = ["--ckpt_path", "b"] if done else []
    assert said in describe_stop("SIGTERM", stages, done, ["fit", "a", *given])
    last_words = r"dasc fit a --ckpt_path last$|start it again$|complete$"
    assert re.search(last_words, describe_stop("x", stages, done, ["fit", "a"]))


def test_a_run_from_a_checkpoint_of_another_folder_resumes_from_it_until_it_has_its_own() -> None:
    stages, words = Stages.parse([{"epochs": 2}]), ["fit", "a", "--ckpt_path", "elsewhere.ckpt"]
    said = [describe_stop("SIGTERM", stages, 1, words, has_last=has_last) for has_last in (False, True)]
    assert said[0].endswith("To resume: dasc fit a --ckpt_path elsewhere.ckpt")
    assert said[1].endswith("To resume: dasc fit a --ckpt_path last")


def test_stages_csv_has_no_row_of_a_stage_that_was_cut(tiny: Path, tmp_path: Path) -> None:
    run = fit(tiny, tmp_path, "--trainer.callbacks+=tests.support.killing.StopAt", "--trainer.callbacks.step=30")
    with (run / "stages.csv").open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["1"]
