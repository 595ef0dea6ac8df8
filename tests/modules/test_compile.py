"""Training with `torch.compile`, by the compiler itself."""

import shutil
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from dasc.callbacks import DropAuxiliaryLayers, L1Pruning
from dasc.data import ImageData
from dasc.modules import PrunedClassifier
from dasc.networks import AuxiliaryPlace, auxiliary_blocks
from dasc.stages import Stages
from tests.support.training import bare_trainer

pytestmark = [
    pytest.mark.skipif(
        not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler on the CPU"
    ),
    pytest.mark.filterwarnings("ignore"),  # those of the compiler are not ours
]


class SmallNetwork(nn.Module):
    """One convolution, with a place for auxiliary ones, and a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(F.relu(self.layers(images)).mean((2, 3)))
        return logits

    def auxiliary_place(self) -> AuxiliaryPlace:
        return AuxiliaryPlace(self.layers, lambda: nn.Conv2d(4, 4, 3, padding=1, bias=False))


class Shapes(Callback):
    """Keeps the blocks of each epoch, and the sizes of the batches that the network was called with in Python."""

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.blocks.append(auxiliary_blocks(pl_module.get_submodule("network")))


def fit(compile: bool) -> tuple[PrunedClassifier, list[int], int]:
    """Train with a drop and pruning; return the module, the blocks of each epoch and the count of compiled graphs."""
    stages = Stages.parse([{"epochs": 1, "auxiliary": 1}, {"epochs": 1, "sparsity": 0.5}])
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    module, shapes = PrunedClassifier(SmallNetwork(10), stages, compile=compile), Shapes()
    given: dict[str, Any] = {"max_epochs": 2, "limit_train_batches": 3, "limit_val_batches": 0}
    trainer = bare_trainer(**given, callbacks=[DropAuxiliaryLayers(stages), L1Pruning(stages), shapes])
    trainer.fit(module, datamodule=ImageData("digits", batch_size=128))
    return module, shapes.blocks, torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_a_compiled_training_with_a_drop_ends_as_an_eager_one() -> None:
    (eager, *_, no_graphs), (compiled, blocks, graphs) = fit(False), fit(True)
    assert (no_graphs, graphs) == (0, 2)  # one with the block and one without
    assert blocks == [1, 0]
    assert list(compiled.state_dict()) == list(eager.state_dict())
    start = SmallNetwork(10).state_dict()
    for name, value in eager.state_dict().items():
        assert torch.allclose(compiled.state_dict()[name].float(), value.float(), rtol=1e-4, atol=1e-5), name
        if name.startswith("network."):
            assert not torch.allclose(value, start[name.removeprefix("network.")], atol=1e-3), name
    for name, mask in compiled.masks.by_name().items():
        assert int((~mask).sum()) == round(0.5 * mask.numel())
        assert not compiled.network.get_parameter(name)[~mask].any()
