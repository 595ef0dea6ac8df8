"""Runs in every precision that `trainer.precision` accepts."""

import csv
from pathlib import Path

import pytest
import torch

from dasc.checkpoint import load_network
from dasc.cli import run
from dasc.data import ImageData
from tests.support.training import bare_trainer

DTYPES = {
    "32-true": torch.float32,
    "bf16-mixed": torch.float32,
    "bf16-true": torch.bfloat16,
    "16-true": torch.float16,
    "64-true": torch.float64,
}


@pytest.mark.parametrize("precision", DTYPES)
def test_a_run_in_every_precision_prunes_and_scores(precision: str, distilling: Path, tmp_path: Path) -> None:
    args = [f"--trainer.precision={precision}", "--epochs_scale=0.5", "--trainer.limit_train_batches=2"]
    args += ["--data.eval_batch_size=64", "--trainer.limit_val_batches=1"]
    fitted = run(["fit", "--config", str(distilling), *args, "--model.recalibrate=1"])
    assert {p.dtype for p in fitted.model.network.parameters()} == {DTYPES[precision]}
    folder = tmp_path / "lightning_logs" / "version_0"
    with (folder / "stages.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["sparsity"]) == pytest.approx(0.6, abs=1e-3)
    loaded = load_network(folder / "checkpoints" / "last.ckpt")
    for name, mask in loaded.masks.items():
        assert not loaded.network.get_parameter(name)[~mask].any()
    tested = run(["test", "--config", str(distilling), *args, "--ckpt_path=last", "--model.recalibrate=1"])
    assert 0.05 < float(tested.trainer.callback_metrics["test/accuracy"]) <= 1


@pytest.mark.parametrize(("precision", "unit"), [("bf16-true", 2**-8), ("16-true", 2**-11), ("64-true", 2**-53)])
def test_images_are_normalised_in_the_dtype_of_the_network(precision: str, unit: float) -> None:
    data = ImageData("digits")
    data.trainer = bare_trainer(precision=precision)
    data.setup("test")
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (data.mean, data.std))
    exact = (images.double() / 255 - mean) / std
    normalised = data.pipeline.normalise(images)
    assert normalised.dtype == DTYPES[precision]
    assert bool(((normalised.double() - exact).abs() <= 4 * unit * exact.abs() + 1e-7 * (unit > 1e-9)).all())
