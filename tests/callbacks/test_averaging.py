from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from dasc import checkpoint
from dasc.callbacks import DropAuxiliaryLayers, L1Pruning, RecalibrateBatchNorm, WeightEMA
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet, prunable_weights
from dasc.stages import Stages
from tests.support.training import bare_trainer

DECAY = 0.7
TABLE = [
    {"epochs": 1, "auxiliary": 1, "magnitude": 8},
    {"epochs": 1, "auxiliary": 1, "magnitude": 2},
    {"epochs": 1, "lr": 0.02},
    {"epochs": 1, "sparsity": 0.5},
    {"epochs": 2, "sparsity": 0.5, "lr": 0.05, "magnitude": 1},
]
RESTARTS = {0, 2, 3}
STEPS = 3
EPOCHS = 6

State = dict[str, Tensor]


def module_of(stages: Stages) -> PrunedClassifier:
    torch.manual_seed(0)
    return PrunedClassifier(CifarResNet(10, depth=8), stages, recalibrate=1)


def fit(module: Classifier, *callbacks: Callback, ckpt_path: Path | None = None, **settings: Any) -> Trainer:
    stages = module.stages
    ours = [DropAuxiliaryLayers(stages), L1Pruning(stages), RecalibrateBatchNorm(stages)]
    base: dict[str, Any] = {"max_epochs": stages.total_epochs, "limit_train_batches": STEPS, "limit_val_batches": 0}
    # the average first: it must not depend on the order of callbacks
    run = bare_trainer(**base | {"callbacks": [*callbacks, *ours, *settings.pop("last", [])]} | settings)
    run.fit(module, datamodule=ImageData("digits", batch_size=128), ckpt_path=ckpt_path)
    return run


def copied(module: LightningModule) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Record(Callback):
    """Keeps the weights before the first step of each epoch and after each batch, and saves every epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts: list[State] = []
        self.steps: list[list[State]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.starts.append(copied(pl_module))
            self.steps.append([])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.steps:  # not in the rest of an epoch that is resumed
            self.steps[-1].append(copied(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt", weights_only=False)


def read(path: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    return saved


def stepped(average: State, weights: State) -> State:
    return {name: DECAY * value + (1 - DECAY) * weights[name].double() for name, value in average.items()}


def floating(state: State) -> State:
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


def assert_average(saved: State, expected: State) -> None:
    assert floating(saved).keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(saved[name].double(), value, rtol=1e-5, atol=1e-6, msg=name)


def assert_equal(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_is_exponential_and_restarts_where_the_network_changes(accumulate: int, tmp_path: Path) -> None:
    module, record = module_of(Stages.parse(TABLE)), Record(tmp_path)
    fit(module, WeightEMA(DECAY), last=[record], accumulate_grad_batches=accumulate)
    average: State = {}
    for epoch, (start, steps) in enumerate(zip(record.starts, record.steps, strict=True)):
        if epoch in RESTARTS:
            average = floating(start)
        for batch, weights in enumerate(steps):
            if (batch + 1) % accumulate == 0 or batch + 1 == STEPS:
                average = stepped(average, weights)
        saved = read(tmp_path / f"{epoch}.ckpt")
        assert_average(saved["state_dict"], average)
        assert_equal(saved["current_model_state"], steps[-1])
        assert_equal(
            *(
                {name: value for name, value in state.items() if name not in average}
                for state in (saved["state_dict"], steps[-1])
            )
        )
        assert saved["dasc"]["weights"] == "averaged"


def test_pruned_weights_are_zero_in_the_average_and_masks_are_the_true_ones(tmp_path: Path) -> None:
    module = module_of(Stages.parse(TABLE))
    fit(module, WeightEMA(DECAY), last=[Record(tmp_path)])
    for epoch in (3, 4, 5):
        state = read(tmp_path / f"{epoch}.ckpt")["state_dict"]
        masks = {name.removeprefix("masks."): value for name, value in state.items() if name.startswith("masks.")}
        assert masks.keys() == prunable_weights(module.network).keys()
        for name, mask in masks.items():
            assert mask.dtype == torch.bool
            assert torch.equal(mask, state[f"network.{name}"] != 0)
            assert int((~mask).sum()) == round(0.5 * mask.numel())


def test_training_is_as_without_an_average(tmp_path: Path) -> None:
    records = []
    for name, callbacks in (("with", [WeightEMA(DECAY)]), ("without", [])):
        records.append(Record(tmp_path / name))
        fit(module_of(Stages.parse(TABLE)), *callbacks, last=[records[-1]], limit_val_batches=1)
    for one, other in zip(*(record.steps for record in records), strict=True):
        for weights, expected in zip(one, other, strict=True):
            assert_equal(weights, expected)
    assert read(tmp_path / "without" / "5.ckpt")["dasc"]["weights"] == "trained"


class Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(float(trainer.callback_metrics["val/loss"]))


def test_validation_scores_the_average(tmp_path: Path) -> None:
    losses = Losses()
    fit(module_of(Stages.parse(TABLE)), WeightEMA(DECAY), last=[losses, Record(tmp_path)], limit_val_batches=1.0)
    for epoch, loss in enumerate(losses.seen):
        state = read(tmp_path / f"{epoch}.ckpt")
        for key, same in (("state_dict", True), ("current_model_state", False)):
            stages = Stages.parse(TABLE[min(epoch, 4) :])
            module = module_of(stages)
            module.load_state_dict(state[key])
            scores = bare_trainer().validate(module, datamodule=ImageData("digits", batch_size=128), verbose=False)
            assert (scores[0]["val/loss"] == pytest.approx(loss, rel=1e-6)) == same


class FailInValidation(Callback):
    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("interrupted")


def test_a_validation_that_fails_leaves_the_trained_weights(tmp_path: Path) -> None:
    module, record = module_of(Stages.parse(TABLE)), Record(tmp_path)
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(module, WeightEMA(DECAY), FailInValidation(), last=[record], limit_val_batches=1)
    assert_equal(copied(module), record.steps[1][-1])


class SaveInValidation(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)


def test_a_checkpoint_of_any_time_has_both_weights(tmp_path: Path) -> None:
    module, record = module_of(Stages.parse([{"epochs": 1}])), Record(tmp_path)
    save = SaveInValidation(tmp_path / "inside.ckpt")
    run = fit(module, WeightEMA(DECAY), save, last=[record], limit_val_batches=1)
    run.validate(module, datamodule=ImageData("digits", batch_size=128), verbose=False)
    run.save_checkpoint(tmp_path / "after.ckpt", weights_only=False)
    epoch_end = read(tmp_path / "0.ckpt")
    assert_equal(copied(module), epoch_end["state_dict"])
    for name in ("inside", "after"):
        saved = read(tmp_path / f"{name}.ckpt")
        assert_equal(saved["state_dict"], epoch_end["state_dict"])
        assert_equal(saved["current_model_state"], record.steps[-1][-1])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_an_average_is_resumed_exactly_within_an_epoch(tmp_path: Path) -> None:
    def ends(ckpt_path: Path | None = None) -> list[State]:
        saving: dict[str, Any] = {"every_n_train_steps": 1, "save_top_k": -1, "auto_insert_metric_name": False}
        save = ModelCheckpoint(tmp_path / "kept", "{step}", enable_version_counter=False, **saving)
        module, record = module_of(Stages.parse(TABLE)), Record(tmp_path)
        settings: dict[str, Any] = {"limit_val_batches": 1, "enable_checkpointing": True, "last": [record, save]}
        fit(module, WeightEMA(DECAY), ckpt_path=ckpt_path, **settings)
        saved = read(tmp_path / f"{EPOCHS - 1}.ckpt")
        return [saved["state_dict"], saved["current_model_state"], saved["averaging_state"]]

    whole = ends()
    assert whole[2] == {"latest_update_step": STEPS * EPOCHS, "restart_epoch": 3}
    # the first step, the last of a stage, within a stage that restarts the average and after it, the last of all
    for step in (1, 2 * STEPS, 2 * STEPS + 1, 3 * STEPS + 2, 4 * STEPS + 1, STEPS * EPOCHS):
        resumed = ends(tmp_path / "kept" / f"{step}.ckpt")
        assert_equal(resumed[0], whole[0])
        assert_equal(resumed[1], whole[1])
        assert resumed[2] == whole[2]


def test_a_loaded_network_has_the_averaged_weights(tmp_path: Path) -> None:
    fit(module_of(Stages.parse(TABLE)), WeightEMA(DECAY), last=[Record(tmp_path)])
    loaded = checkpoint.load_network(tmp_path / "5.ckpt")
    state = read(tmp_path / "5.ckpt")["state_dict"]
    assert_equal(loaded.network.state_dict(), {k[8:]: v for k, v in state.items() if k.startswith("network.")})
    assert loaded.meta["weights"] == "averaged"
    assert loaded.meta["recipe"]["averaging"] == {"class": "WeightEMA", "decay": DECAY}


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError) as raised:
        WeightEMA(decay)
    assert str(raised.value) == f"decay must be > 0 and < 1, got {decay}"


def test_a_second_fit_starts_without_an_average(tmp_path: Path) -> None:
    ema, stages = WeightEMA(DECAY), Stages.parse([{"epochs": 1}])
    fit(module_of(stages), ema)
    module, record = module_of(stages), Record(tmp_path)
    fit(module, ema, last=[record])
    average = floating(record.starts[0])
    for weights in record.steps[0]:
        average = stepped(average, weights)
    assert_average(copied(module), average)
