"""Runs resumed from checkpoints within an epoch end bit for bit as uninterrupted ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc.callbacks import DropAuxiliaryLayers, L1Pruning, MagnitudeDecay, StageReport
from dasc.checkpoint import read
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import DistilledClassifier, PrunedClassifier, Selection, TeacherConfig
from dasc.networks import CifarResNet, TorchvisionNetwork
from dasc.stages import Stages
from tests.support.command import dasc
from tests.support.training import bare_trainer

STEPS = 4
"""Batches of an epoch."""
TABLE: list[dict[str, Any]] = [
    {"epochs": 2, "magnitude": 14, "auxiliary": 1},
    {"epochs": 1, "sparsity": 0.3, "magnitude": "random"},
]
EPOCHS = 3


def module(kind: str, tmp_path: Path) -> PrunedClassifier:
    torch.manual_seed(0)
    stages = Stages.parse(TABLE)
    if kind == "dropout":
        table = [{k: v for k, v in row.items() if k != "auxiliary"} for row in TABLE]
        return PrunedClassifier(TorchvisionNetwork(10, "squeezenet1_1"), Stages.parse(table), recalibrate=1)
    if kind == "plain":
        return PrunedClassifier(CifarResNet(10, depth=8), stages)
    torch.manual_seed(7)
    torch.save(CifarResNet(10, depth=8).state_dict(), tmp_path / "teacher.pt")
    teacher = TeacherConfig(path=str(tmp_path / "teacher.pt"), network="CifarResNet", network_args={"depth": 8})
    torch.manual_seed(0)
    return DistilledClassifier(CifarResNet(10, depth=8), stages, teacher, selection=Selection(views=2))


def fit(
    kind: str, tmp_path: Path, resumed: Path | None = None, **settings: Any
) -> tuple[PrunedClassifier, StageReport, Any]:
    made = module(kind, tmp_path)
    stages, report = made.stages, StageReport(made.stages)
    save = ModelCheckpoint(
        *(tmp_path / "kept", "{step}"),
        every_n_train_steps=1,
        save_top_k=-1,
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )
    callbacks = [DropAuxiliaryLayers(stages), L1Pruning(stages), MagnitudeDecay(stages), report, save]
    size = 32 if kind == "dropout" else None
    data = ImageData("digits", batch_size=32, image_size=size)
    given: dict[str, Any] = {"max_epochs": EPOCHS, "limit_train_batches": STEPS, "enable_checkpointing": True}
    trainer = bare_trainer(**(given | settings), callbacks=callbacks)
    trainer.fit(made, datamodule=data, ckpt_path=resumed, weights_only=True)
    return made, report, trainer


def state_of(
    fitted: tuple[PrunedClassifier, StageReport, Any],
) -> tuple[dict[str, Any], list[Any], Any, dict[str, float]]:
    made, report, trainer = fitted
    momentum = [state["momentum_buffer"] for state in trainer.optimizers[0].state.values()]
    # the last stage has no number as its magnitude: Lightning shows that of an earlier epoch
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name != "magnitude"}
    return made.state_dict(), momentum, report._rows, metrics


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("plain", {}),
        ("plain", {"accumulate_grad_batches": 2}),
        ("plain", {"val_check_interval": 0.25}),
        ("distilled", {}),
        ("dropout", {}),
    ],
    ids=["plain", "accumulating", "validating", "distilled", "dropout"],
)
def test_a_run_resumed_within_an_epoch_ends_as_an_uninterrupted_one(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    whole = state_of(fit(kind, tmp_path, **settings))
    steps = STEPS // settings.get("accumulate_grad_batches", 1)
    # first step, within an epoch, its last step, within the second stage, the last step of all
    for step in (1, steps + steps // 2, 2 * steps, 2 * steps + 1, 3 * steps):
        resumed = state_of(fit(kind, tmp_path, tmp_path / "kept" / f"{step}.ckpt", **settings))
        for key, value in whole[0].items():
            assert torch.equal(value, resumed[0][key]), (step, key)
        assert all(torch.equal(a, b) for a, b in zip(whole[1], resumed[1], strict=True)), step
        assert resumed[2] == whole[2], step
        assert resumed[3] == whole[3], step


def write_config(tiny: Path, path: Path) -> Path:
    config = yaml.safe_load(tiny.read_text())
    every = {"class_path": "ModelCheckpoint", "init_args": {"every_n_train_steps": 5, "save_top_k": -1}}
    config["trainer"]["callbacks"] = [every]
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("processes", [1, 2])
def test_last_is_a_file_within_an_epoch_and_a_killed_run_resumes_from_it(
    processes: int, tiny: Path, tmp_path: Path
) -> None:
    config = write_config(tiny, tmp_path / "every.yaml")
    base = ("fit", "--config", config, "--epochs_scale=0.5", "--trainer.devices", processes)
    whole = dasc(*base, "--trainer.default_root_dir", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    kill = ("--trainer.callbacks+=killing.KillAt", "--trainer.callbacks.step=22")  # in the third epoch of 8 steps
    killed = dasc(*base, "--trainer.default_root_dir", tmp_path, *kill)
    assert killed.returncode != 0
    run = tmp_path / "lightning_logs" / "version_0"
    kept = {path.stem for path in (run / "checkpoints").glob("epoch=*")}
    assert kept == {"epoch=0-step=5", "epoch=1-step=10", "epoch=1-step=15", "epoch=2-step=20"}
    resumed = dasc(*base, "--trainer.default_root_dir", tmp_path, "--ckpt_path", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert "step=20.ckpt" in resumed.stderr + resumed.stdout
    other = tmp_path / "whole" / "lightning_logs" / "version_0"
    states = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (run, other)]
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())
    assert (run / "stages.csv").read_bytes() == (other / "stages.csv").read_bytes()
    assert not (tmp_path / "lightning_logs" / "version_1").exists()
    curves = [scalars(r) for r in (run, other)]
    # the loss is the mean of sums of two processes: in which order they are added is not fixed
    assert curves[0].keys() == curves[1].keys()
    for tag in ("train/loss", "val/accuracy", "lr", "sparsity"):
        assert curves[0][tag] == curves[1][tag], tag


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


class SaveWithinStep(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)


def test_a_checkpoint_within_a_step_is_not_resumed(tmp_path: Path) -> None:
    made = module("plain", tmp_path)
    stages = made.stages
    callbacks = [DropAuxiliaryLayers(stages), L1Pruning(stages), MagnitudeDecay(stages), StageReport(stages)]
    settings: dict[str, Any] = {"max_epochs": 1, "limit_train_batches": STEPS}
    data = ImageData("digits", batch_size=32)
    bare_trainer(callbacks=[*callbacks, SaveWithinStep(tmp_path / "a.ckpt")], **settings).fit(made, datamodule=data)
    trainer, again = bare_trainer(callbacks=callbacks, **settings), module("plain", tmp_path)
    with pytest.raises(UserError, match="a checkpoint that was saved within an optimizer step cannot be resumed"):
        trainer.fit(again, datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert read(tmp_path / "a.ckpt")["dasc"]["epochs_done"] == 0
