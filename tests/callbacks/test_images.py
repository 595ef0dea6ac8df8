import io
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc.callbacks import AugmentedImages, MagnitudeDecay
from dasc.data import Batch, ImageData
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.stages import Magnitude, Stages

Pixels = NDArray[np.uint8]


class OtherLogger(DummyLogger):
    @property
    def experiment(self) -> Any:
        return object()  # which takes no images


class Saw(Callback):
    """Keeps the first batch of every epoch as the network gets it."""

    def __init__(self) -> None:
        self.images: list[NDArray[np.float64]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if batch_idx == 0:
            self.images.append(batch.images.double().numpy())


def fit(folder: Path, stages: Stages, *callbacks: Callback, crop: Any = None, **settings: Any) -> Classifier:
    seed_everything(3, verbose=False)
    module = Classifier(CifarResNet(10, depth=8), stages)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=stages.total_epochs,
        limit_train_batches=3,
        limit_val_batches=0,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[MagnitudeDecay(stages), *callbacks],
        **{"logger": TensorBoardLogger(folder, name="", version="")} | settings,
    )
    trainer.fit(module, datamodule=ImageData("digits", batch_size=128, crop=crop))
    return module


def grids(folder: Path) -> dict[str, list[tuple[int, Pixels]]]:
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return {
        tag: [(e.step, np.asarray(Image.open(io.BytesIO(e.encoded_image_string)))) for e in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


def cell(grid: Pixels, number: int) -> Pixels:
    """An image of 8x8 in a grid of 8 a row, each pixel 8x8 times, between lines of 2."""
    top, left = (2 + place * 66 for place in divmod(number, 8))
    blocks = grid[top : top + 64, left : left + 64]
    small = blocks[::8, ::8]
    assert np.array_equal(blocks, small.repeat(8, 0).repeat(8, 1))
    return small


def test_each_stage_has_one_grid_of_what_the_network_saw_in_its_first_step(tmp_path: Path) -> None:
    stages = Stages.parse([{"epochs": 2, "magnitude": 14}, {"epochs": 1, "magnitude": 5}, {"epochs": 3}])
    saw = Saw()
    fit(tmp_path, stages, saw, AugmentedImages(stages))
    seen = grids(tmp_path)
    steps = {tag: [step for step, _ in entries] for tag, entries in seen.items()}
    assert steps == {"augmented/stage-1": [0], "augmented/stage-2": [2], "augmented/stage-3": [3]}
    for entries, number in product(seen.values(), (0, 1, 7, 8, 31)):
        step, grid = entries[0]
        assert grid.shape == (4 * 66 + 2, 8 * 66 + 2, 3)
        expected = (saw.images[step][number] * 0.3759 + 0.3053) * 255
        assert np.abs(cell(grid, number).transpose(2, 0, 1) - expected).max() <= 1


@pytest.mark.parametrize(("magnitude", "changed"), [("none", False), (14, True)])
def test_the_magnitude_is_seen_in_the_grid(magnitude: Magnitude, changed: bool, tmp_path: Path) -> None:
    stages = Stages.parse([{"epochs": 1, "magnitude": magnitude}])
    fit(tmp_path, stages, AugmentedImages(stages), crop="none")
    raw = load_digits().images * 255 / 16
    grid = grids(tmp_path)["augmented/stage-1"][0][1]
    unchanged = [np.abs(raw - cell(grid, number)[:, :, 0]).max((1, 2)).min() <= 1 for number in range(32)]
    # two operations an image, of 14 that include the identity and some that hardly change black and white
    assert sum(unchanged) < 16 if changed else all(unchanged)


def test_the_grid_has_no_more_images_than_asked_for(tmp_path: Path) -> None:
    stages = Stages.parse([{"epochs": 1}])
    fit(tmp_path, stages, AugmentedImages(stages, count=5))
    assert grids(tmp_path)["augmented/stage-1"][0][1].shape == (68, 5 * 66 + 2, 3)


@pytest.mark.parametrize(("side", "shown"), [(28, 84), (32, 64), (64, 64), (96, 96)])
def test_images_are_enlarged_to_64_pixels(side: int, shown: int, tmp_path: Path) -> None:
    stages = Stages.parse([{"epochs": 1}])
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = Trainer(accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False)
    trainer.datamodule = ImageData("digits")  # type: ignore[attr-defined]  # set by fit
    images = torch.linspace(-3, 3, 3 * side * side).view(1, 3, side, side)  # beyond black and white
    batch = Batch(images, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 0)
    AugmentedImages(stages).on_train_batch_start(trainer, Classifier(CifarResNet(10, depth=8), stages), batch, 0)
    logger.finalize("success")
    grid = grids(tmp_path)["augmented/stage-1"][0][1]
    assert grid.shape[:2] == (shown, shown)  # torchvision draws no lines around a single image
    assert (grid[0, 0, 0], grid[-1, -1, 2]) == (0, 255)


def test_the_training_and_all_draws_are_as_without_it(tmp_path: Path) -> None:
    stages = Stages.parse([{"epochs": 1, "magnitude": 14}, {"epochs": 1, "magnitude": "random"}])
    states, draws = [], []
    for name, callbacks in {"with": [AugmentedImages(stages)], "without": []}.items():
        states.append(fit(tmp_path / name, stages, *callbacks).state_dict())
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert list(grids(tmp_path / "with")) == ["augmented/stage-1", "augmented/stage-2"]
    assert grids(tmp_path / "without") == {}
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert draws[0] == draws[1]


def test_only_the_first_process_writes_and_only_for_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Stages.parse([{"epochs": 1}])
    fit(tmp_path / "none", stages, AugmentedImages(stages), logger=False)
    fit(tmp_path / "csv", stages, AugmentedImages(stages), logger=OtherLogger())
    fit(tmp_path / "fast", stages, AugmentedImages(stages), fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    fit(tmp_path / "second", stages, AugmentedImages(stages))
    assert grids(tmp_path / "second") == {}
