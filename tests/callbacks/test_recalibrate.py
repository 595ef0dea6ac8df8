from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dasc.callbacks import L1Pruning, MagnitudeDecay, RecalibrateBatchNorm
from dasc.data import ImageData
from dasc.modules import PrunedClassifier
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.training import bare_trainer

TABLE = [{"epochs": 1, "magnitude": 14}, {"epochs": 1, "magnitude": 4}, {"epochs": 2, "sparsity": 0.6, "magnitude": 4}]


class Around(Callback):
    """Keeps the network as epochs start, and the images of their batches."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.images: list[list[Tensor]] = []
        self.logged: list[Any] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = pl_module.get_submodule("network").state_dict()
        self.states.append({key: value.clone() for key, value in state.items()})
        self.images.append([])
        self.logged.append(trainer.callback_metrics.get("recalibration_batches"))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.images[-1].append(batch.images.clone())


@pytest.fixture(params=[0, 2], ids=["off", "2 batches"])
def ran(request: pytest.FixtureRequest) -> tuple[int, Around, Around]:
    torch.manual_seed(0)
    stages, before, after = Stages.parse(TABLE), Around(), Around()
    module = PrunedClassifier(CifarResNet(10, depth=8), stages, recalibrate=request.param)
    callbacks = [L1Pruning(stages), MagnitudeDecay(stages), before, RecalibrateBatchNorm(stages), after]
    trainer = bare_trainer(max_epochs=4, limit_train_batches=4, limit_val_batches=0, callbacks=callbacks)
    trainer.fit(module, datamodule=ImageData("digits", batch_size=128))
    assert all(m.momentum == 0.1 for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    return request.param, before, after


def test_only_the_statistics_change_and_only_where_the_network_did(ran: tuple[int, Around, Around]) -> None:
    batches, before, after = ran
    for epoch, (old, new) in enumerate(zip(before.states, after.states, strict=True)):
        changed = {key.rpartition(".")[2] for key in old if not torch.equal(old[key], new[key])}
        expected = {"running_mean", "running_var", "num_batches_tracked"} if batches and epoch == 2 else set()
        assert changed == expected, epoch


def test_the_statistics_are_those_of_torch_over_the_batches_that_follow(ran: tuple[int, Around, Around]) -> None:
    batches, before, after = ran
    network = CifarResNet(10, depth=8)
    network.load_state_dict(before.states[2])
    if batches:
        update_bn(before.images[2][:batches], network)
    for key, value in network.state_dict().items():
        assert torch.allclose(value, after.states[2][key], rtol=1e-5, atol=1e-6), key


def test_it_is_logged_where_it_was_used(ran: tuple[int, Around, Around]) -> None:
    batches, _, after = ran
    assert after.logged[:3] == [None] * 3
    assert after.logged[3] == (batches or None)
