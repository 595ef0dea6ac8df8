from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from dasc.callbacks import MagnitudeDecay
from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.stages import Magnitude, Stages
from tests.support.training import bare_trainer

TABLE: list[dict[str, Any]] = [
    {"epochs": 1, "magnitude": 14},
    {"epochs": 4, "magnitude": [12, 5]},
    {"epochs": 1, "magnitude": "random"},
    {"epochs": 1},
    {"epochs": 2, "magnitude": 0},
]
# 12 + (5 - 12) e / 3 for e = 0..3 is 12, 9.67, 7.33, 5
EXPECTED: list[Magnitude] = [14, 12, 10, 7, 5, "random", "none", 0, 0]


class Watch(Callback):
    def __init__(self) -> None:
        self.seen: list[Magnitude] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        data = getattr(trainer, "datamodule", None)
        assert isinstance(data, ImageData)
        self.seen.append(data.magnitude)


def trainer(epochs: int, *callbacks: Callback) -> Trainer:
    return bare_trainer(
        max_epochs=epochs,
        limit_train_batches=2,
        limit_val_batches=0,
        callbacks=list(callbacks),
    )


def test_every_batch_of_an_epoch_is_trained_at_the_tables_magnitude() -> None:
    stages, watch = Stages.parse(TABLE), Watch()
    decay = MagnitudeDecay(stages)
    data = ImageData("digits", batch_size=128, magnitude=30)
    trainer(9, decay, watch).fit(Classifier(CifarResNet(10, depth=8), stages), datamodule=data)
    assert watch.seen[0::2] == EXPECTED
    assert watch.seen[1::2] == EXPECTED
    assert (decay.magnitude, data.magnitude) == (0, 0)


@pytest.mark.parametrize(("magnitude", "logged"), [(14, 14.0), (0, 0.0), ("random", None), ("none", None)])
def test_a_magnitude_is_logged_where_it_is_a_number(magnitude: Magnitude, logged: float | None) -> None:
    stages = Stages.parse([{"epochs": 1, "magnitude": magnitude}])
    run = trainer(1, MagnitudeDecay(stages))
    run.fit(Classifier(CifarResNet(10, depth=8), stages), datamodule=ImageData("digits", batch_size=128))
    value = run.callback_metrics.get("magnitude")
    assert (None if value is None else float(value)) == logged


class OtherData(LightningDataModule):
    def train_dataloader(self) -> list[Batch]:
        return [Batch(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.long), torch.arange(2), 0)]

    val_dataloader = train_dataloader


def test_other_data_than_image_data_is_refused() -> None:
    stages = Stages.parse(TABLE)
    with pytest.raises(UserError) as raised:
        trainer(9, MagnitudeDecay(stages)).fit(Classifier(CifarResNet(10, depth=8), stages), datamodule=OtherData())
    assert str(raised.value) == "dasc trains on ImageData, not on OtherData: set data to that"
