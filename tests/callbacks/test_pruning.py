import copy

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import prune

from dasc.callbacks import L1Pruning
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet
from dasc.pruning import Scope
from dasc.stages import Stages
from tests.support.training import bare_trainer

TABLE = [{"epochs": 2}, {"epochs": 2, "sparsity": 0.3}, {"epochs": 1, "sparsity": 0.3}, {"epochs": 2, "sparsity": 0.7}]
ASKED = [0.0, 0.0, 0.3, 0.3, 0.3, 0.7, 0.7]

Masks = dict[str, Tensor]


def trainer(epochs: int, *callbacks: Callback) -> Trainer:
    return bare_trainer(
        max_epochs=epochs,
        limit_train_batches=2,
        limit_val_batches=0,
        callbacks=list(callbacks),
    )


def network() -> CifarResNet:
    torch.manual_seed(0)
    return CifarResNet(10, depth=8)


def masks_of(module: LightningModule) -> Masks:
    assert isinstance(module, PrunedClassifier)
    return {name: mask.clone() for name, mask in module.masks.by_name().items()}


class Before(Callback):
    def __init__(self) -> None:
        self.networks: list[nn.Module] = []
        self.masks: list[Masks] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.networks.append(copy.deepcopy(pl_module.get_submodule("network")))
        self.masks.append(masks_of(pl_module))


class After(Callback):
    def __init__(self) -> None:
        self.starts: list[Masks] = []
        self.ends: list[Masks] = []
        self.logged: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.starts.append(masks_of(pl_module))
        if "sparsity" in trainer.callback_metrics:
            self.logged.append(float(trainer.callback_metrics["sparsity"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ends.append(masks_of(pl_module))


def equal(one: Masks, other: Masks) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def share_off(masks: Masks) -> float:
    return sum(int((~mask).sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def torch_prune(network: nn.Module, sparsity: float, scope: Scope) -> Masks:
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    if scope == "layer":
        for layer in layers.values():
            prune.l1_unstructured(layer, "weight", amount=sparsity)
    else:
        pairs = [(layer, "weight") for layer in layers.values()]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=sparsity)
    return {f"{name}.weight": layer.get_buffer("weight_mask").bool() for name, layer in layers.items()}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_masks_change_at_the_first_epochs_of_stages_only_and_are_those_of_torch_prune(scope: Scope) -> None:
    stages, before, after = Stages.parse(TABLE), Before(), After()
    module = PrunedClassifier(network(), stages, scope=scope)
    run = trainer(7, before, L1Pruning(stages), after)
    run.fit(module, datamodule=ImageData("digits", batch_size=128))
    changed = [not equal(b, a) for b, a in zip(before.masks, after.starts, strict=True)]
    assert changed == [False, False, True, False, False, True, False]
    assert all(equal(start, end) for start, end in zip(after.starts, after.ends, strict=True))
    for epoch, sparsity in ((2, 0.3), (5, 0.7)):
        assert equal(after.starts[epoch], torch_prune(before.networks[epoch], sparsity, scope))
    reached = [share_off(masks) for masks in after.starts]
    assert reached == pytest.approx(ASKED, abs=1e-3)
    logged = [*after.logged, float(run.callback_metrics["sparsity"])]
    assert logged == pytest.approx(reached, abs=1e-7)


class Asked(PrunedClassifier):
    def __init__(self, stages: Stages) -> None:
        super().__init__(network(), stages)
        self.asked: list[tuple[int, float, int]] = []

    def masks_at(self, sparsity: float, stage: int) -> Masks:
        self.asked.append((self.current_epoch, sparsity, stage))
        return super().masks_at(sparsity, stage)


def test_masks_are_asked_for_once_a_stage_and_never_between() -> None:
    stages = Stages.parse(TABLE)
    module = Asked(stages)
    trainer(7, L1Pruning(stages)).fit(module, datamodule=ImageData("digits", batch_size=128))
    assert module.asked == [(0, 0.0, 0), (2, 0.3, 1), (4, 0.3, 2), (5, 0.7, 3)]


def test_sparsity_in_row_one_is_there_before_the_first_step() -> None:
    stages, after = Stages.parse([{"epochs": 1, "sparsity": 0.5}]), After()
    module = PrunedClassifier(network(), stages)
    expected = torch_prune(network(), 0.5, "layer")
    pruning = L1Pruning(stages)
    trainer(1, pruning, after).fit(module, datamodule=ImageData("digits", batch_size=128))
    assert equal(after.starts[0], expected)
    assert pruning.sparsity == share_off(expected)


def test_a_module_without_masks_is_refused() -> None:
    stages = Stages.parse([{"epochs": 1}])
    with pytest.raises(UserError) as raised:
        trainer(1, L1Pruning(stages)).fit(Classifier(network(), stages), datamodule=ImageData("digits", batch_size=128))
    assert str(raised.value) == "L1Pruning needs a PrunedClassifier, not a Classifier: set model to that"
