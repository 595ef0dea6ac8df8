"""The batch pipeline in a loop without Lightning, and the magnitude of `ImageData` under a plain Trainer."""

import subprocess
import sys
from fractions import Fraction
from math import floor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from dasc.data import Batch, ImageData
from dasc.data.augmentation import AugmentationState, magnitude_at
from dasc.errors import UserError
from dasc.stages import Constant, Linear, Magnitude
from tests.support.plain_loop import BATCH_SIZE, CASES, EPOCHS, SEED, STEPS, WORLD_SIZE
from tests.support.training import bare_trainer

Made = dict[tuple[str, int, int], list[list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The batches of a process that has not imported Lightning."""
    path = tmp_path_factory.mktemp("plain") / "batches.pt"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "tests.support.plain_loop", str(path)], cwd=root, check=True)
    made = torch.load(path, weights_only=True)
    assert made["imported"] == []
    return cast(Made, made["batches"])


class Recording(LightningModule):
    """Keeps its batches and, for each, the magnitude that the data state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.batches: list[Batch] = []
        self.magnitudes: list[Magnitude] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, ImageData)
        self.batches.append(batch)
        self.magnitudes.append(data.magnitude)
        loss: Tensor = self.layer(torch.ones(1, 1)).sum()
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def image_data(name: str) -> ImageData:
    magnitude, views, settings = CASES[name]
    data = ImageData("digits", batch_size=BATCH_SIZE, magnitude=magnitude, **settings)
    data.augmentation.views = views
    return data


def assert_equal(batches: list[Batch], expected: list[dict[str, Any]]) -> None:
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for column, value in batch._asdict().items():
            if isinstance(value, Tensor):
                assert value.dtype == other[column].dtype
                assert torch.equal(value, other[column]), column
            else:
                assert value == other[column], column


@pytest.mark.parametrize("name", CASES)
def test_a_loop_without_lightning_has_the_batches_of_a_trainer(
    name: str, plain: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", str(SEED))
    module = Recording()
    trainer = bare_trainer(max_epochs=EPOCHS, limit_train_batches=STEPS, limit_val_batches=0)
    trainer.fit(module, datamodule=image_data(name))
    assert_equal(module.batches, [batch for epoch in plain[name, 0, 1] for batch in epoch])


@pytest.mark.parametrize("rank", range(WORLD_SIZE))
@pytest.mark.parametrize("name", CASES)
def test_a_loop_without_lightning_has_the_batches_of_each_of_several_processes(
    name: str, rank: int, plain: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", str(SEED))
    data = image_data(name)
    state = trainer_state(0, rank, WORLD_SIZE)
    data.trainer = cast(Trainer, state)
    data.setup("fit")
    loader = data.train_dataloader()
    for epoch in range(EPOCHS):
        state.current_epoch = epoch
        loader.sampler.set_epoch(epoch)
        batches = [data.on_after_batch_transfer(batch, 0) for batch, _ in zip(loader, range(STEPS), strict=False)]
        assert_equal(batches, plain[name, rank, WORLD_SIZE][epoch])


def trainer_state(epoch: int, rank: int = 0, world_size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        training=True,
        current_epoch=epoch,
        max_epochs=EPOCHS,
        global_rank=rank,
        world_size=world_size,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


@pytest.mark.parametrize(
    ("magnitude", "expected"),
    [
        ([14, 4], [14, 12, 9, 7, 4]),  # 14 - 2.5 e, halves up
        ((0, 30), [0, 8, 15, 23, 30]),
        ([7, 7], [7] * 5),
        ([20, 3], [20]),
        (9, [9, 9]),
        ("random", ["random"] * 2),
        ("none", ["none"] * 2),
    ],
)
def test_a_plain_trainer_trains_at_the_magnitude_of_the_data(magnitude: Any, expected: list[Magnitude]) -> None:
    module, data = Recording(), ImageData("digits", batch_size=BATCH_SIZE, magnitude=magnitude)
    bare_trainer(max_epochs=len(expected), limit_train_batches=1, limit_val_batches=0).fit(module, datamodule=data)
    assert module.magnitudes == expected
    for epoch, (batch, constant) in enumerate(zip(module.batches, expected, strict=True)):
        other = ImageData("digits", batch_size=BATCH_SIZE, magnitude=constant)
        other.trainer = cast(Trainer, trainer_state(epoch))
        other.setup("fit")
        loader = other.train_dataloader()
        loader.sampler.set_epoch(epoch)
        assert torch.equal(batch.images, other.on_after_batch_transfer(next(iter(loader)), 0).images), epoch


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("ends", [(14, 4), (0, 30), (30, 0), (5, 5), (12, 11)])
def test_a_line_has_the_closed_form(ends: tuple[int, int], epochs: int) -> None:
    start, end = ends
    for epoch in range(epochs):
        share = Fraction(epoch, epochs - 1) if epochs > 1 else Fraction(0)
        assert magnitude_at(Linear(*ends), epoch, epochs) == floor(start + (end - start) * share + Fraction(1, 2))


def test_without_a_trainer_the_magnitude_is_that_of_the_first_epoch() -> None:
    assert ImageData(magnitude=[14, 4]).magnitude == 14
    assert ImageData().augmentation == AugmentationState(Constant("none"), 1)


def test_a_line_needs_a_number_of_epochs() -> None:
    data = ImageData("digits", batch_size=BATCH_SIZE, magnitude=[14, 4])
    trainer = bare_trainer(max_steps=2, limit_val_batches=0)
    with pytest.raises(UserError) as raised:
        trainer.fit(Recording(), datamodule=data)
    assert str(raised.value) == ("trainer.max_epochs must be set for data.magnitude [14, 4], which changes with it")
    module = Recording()
    trainer = bare_trainer(max_steps=2, limit_val_batches=0)
    trainer.fit(module, datamodule=ImageData("digits", batch_size=BATCH_SIZE, magnitude=9))
    assert module.magnitudes == [9, 9]


@pytest.mark.parametrize(
    ("magnitude", "shown"),
    [
        *((31, "31"), (-1, "-1"), (14.0, "14.0"), (True, "True"), ("14", "14"), ("Random", "Random"), (None, "None")),
        *(([14], "[14]"), ([1, 2, 3], "[1, 2, 3]"), ((0, 31), "[0, 31]"), ([3, 4.5], "[3, 4.5]"), ([], "[]")),
    ],
)
def test_a_wrong_magnitude_is_named_in_one_sentence(magnitude: Any, shown: str) -> None:
    with pytest.raises(UserError) as raised:
        ImageData(magnitude=magnitude)
    assert str(raised.value) == f"data.magnitude must be 0..30, none, random or [a, b], got {shown}"
