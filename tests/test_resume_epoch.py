"""Runs resumed from checkpoints within an epoch end bit for bit as uninterrupted ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from dasc.callbacks import DropAuxiliaryLayers, L1Pruning, MagnitudeDecay, StageReport
from dasc.data import ImageData
from dasc.modules import DistilledClassifier, PrunedClassifier, Selection, Teacher
from dasc.networks import CifarResNet, TorchvisionNetwork
from dasc.stages import Stages
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
    teacher = Teacher(path=str(tmp_path / "teacher.pt"), network="CifarResNet", network_args={"depth": 8})
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
