"""Trainings on the GPU: masks, resume, loss scaling, and steps that do not make the host wait."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dasc.checkpoint import load_network
from dasc.cli import main

pytestmark = [
    pytest.mark.gpu,
    # a GradScaler skips the steps until its scale is small enough, usually the first one too
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]

GPU = ("--trainer.accelerator=gpu", "--trainer.devices=1")


def fit(config: Path, root: str, *args: str) -> Path:
    main(["fit", "--config", str(config), *GPU, f"--trainer.default_root_dir={root}", *args])
    return Path(root) / "lightning_logs" / "version_0"


def read(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)
    return content


class CountNotZero(Callback):
    """Counts the weights under masks that are not zero, after every batch."""

    counts: list[int] = []  # noqa: RUF012 - emptied by the test

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        state = pl_module.state_dict()
        masks = {name.removeprefix("masks."): mask for name, mask in state.items() if name.startswith("masks.")}
        self.counts.append(sum(int((state[f"network.{name}"][~mask] != 0).sum()) for name, mask in masks.items()))


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_masked_weights_are_exactly_zero_after_every_step(precision: str, optimizer: str, shrinking: Path) -> None:
    CountNotZero.counts = []
    settings = (f"--model.optimizer={optimizer}", "--model.optimizer.lr=0.01", f"--trainer.precision={precision}")
    run = fit(shrinking, "run", *settings, f"--trainer.callbacks+={__name__}.CountNotZero")
    assert CountNotZero.counts == [0] * 6 * 8
    with (run / "stages.csv").open() as file:
        assert [float(row["sparsity"]) for row in csv.DictReader(file)] == pytest.approx([0, 0.3, 0.6], abs=1e-3)
    with (run / "timing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["precision"] for row in rows} == {precision}
    assert {row["device"] for row in rows} == {torch.cuda.get_device_name()}
    loaded = load_network(run / "checkpoints" / "last.ckpt")
    zeros = sum(int((loaded.network.get_parameter(name) == 0).sum()) for name in loaded.masks)
    assert zeros == sum(int((~mask).sum()) for mask in loaded.masks.values())


@pytest.mark.filterwarnings("ignore:.*deterministic")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(precision: str, shrinking: Path) -> None:
    # warn, not true: the counts of Equalize are sums of integers, which are exact in any order
    settings = (f"--trainer.precision={precision}", "--trainer.deterministic=warn")
    whole = fit(shrinking, "whole", *settings)
    resumed = fit(shrinking, "resumed", *settings, f"--ckpt_path={whole}/checkpoints/stage-1.ckpt")
    first, one, other = read(whole, "stage-1"), read(whole, "last"), read(resumed, "last")
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    assert not torch.equal(one["state_dict"]["network.conv1.weight"], first["state_dict"]["network.conv1.weight"])
    states = [content["optimizer_states"][0]["state"] for content in (one, other)]
    assert all(
        torch.equal(state["momentum_buffer"], states[1][key]["momentum_buffer"]) for key, state in states[0].items()
    )
    assert one.get("MixedPrecision") == other.get("MixedPrecision")
    assert (whole / "stages.csv").read_bytes() == (resumed / "stages.csv").read_bytes()


def test_16_mixed_scales_the_loss_and_halves_the_scale_after_an_overflow(tiny: Path) -> None:
    scaler = "{class_path: torch.amp.GradScaler, init_args: {device: cuda, init_scale: 4.0e12}}"
    settings = f"{{precision: 16-mixed, device: cuda, scaler: {scaler}}}"
    plugin = f"--trainer.plugins=[{{class_path: lightning.pytorch.plugins.MixedPrecision, init_args: {settings}}}]"
    run = fit(tiny, "run", plugin)
    skipped = math.log2(4.0e12 / read(run, "last")["MixedPrecision"]["scale"])
    assert 0 < skipped < 6 * 8
    assert skipped == pytest.approx(round(skipped))
    default = fit(tiny, "default", "--trainer.precision=16-mixed")
    assert read(default, "last")["MixedPrecision"]["scale"] <= 2.0**16  # the initial one of torch; it grows after 2000
    assert all(bool(value.isfinite().all()) for value in read(default, "last")["state_dict"].values())


class ForbidWaiting(Callback):
    """Makes every operation an error that makes the host wait for the GPU, from the second step to the last.

    The data of the steps between are included. The last step is not: the time of the epoch is taken after it.
    """

    steps = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        inside = 0 < batch_idx < int(trainer.num_training_batches) - 1
        torch.cuda.set_sync_debug_mode("error" if inside else "default")
        ForbidWaiting.steps += inside

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        torch.cuda.set_sync_debug_mode("default")


# not 16-mixed: a GradScaler reads on the host whether a step overflowed
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["shrinking", "distilling"])
def test_no_step_makes_the_host_wait(kind: str, precision: str, request: pytest.FixtureRequest) -> None:
    ForbidWaiting.steps = 0
    config: Path = request.getfixturevalue(kind)
    settings = (f"--trainer.precision={precision}", "--data.cutout=3", "--trainer.num_sanity_val_steps=0")
    try:
        fit(config, "run", *settings, f"--trainer.callbacks+={__name__}.ForbidWaiting")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert ForbidWaiting.steps == 6 * 6
