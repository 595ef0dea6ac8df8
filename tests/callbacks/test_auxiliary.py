import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import prune

from dasc.callbacks import DropAuxiliaryLayers, L1Pruning
from dasc.data import ImageData
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet, auxiliary_blocks, set_auxiliary_blocks
from dasc.pruning import Scope
from dasc.stages import Stages, lr_at
from tests.support.training import bare_trainer

TABLE = [{"epochs": 2, "auxiliary": 3}, {"epochs": 1, "auxiliary": 1}, {"epochs": 2}]


def network() -> CifarResNet:
    torch.manual_seed(0)
    return CifarResNet(10, depth=8)


def fit(module: Classifier, *callbacks: Callback, **settings: Any) -> Trainer:
    epochs = module.stages.total_epochs
    base: dict[str, Any] = {"max_epochs": epochs, "limit_train_batches": 2, "limit_val_batches": 0}
    run = bare_trainer(**base | {"callbacks": list(callbacks)} | settings)
    run.fit(module, datamodule=ImageData("digits", batch_size=128))
    return run


class Watch(Callback):
    """Keeps what is there at the starts of epochs, before and after the callbacks between two of its kind."""

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.parameters: list[dict[str, Tensor]] = []
        self.momentum: list[dict[str, Tensor]] = []
        self.held: list[int] = []
        self.lr: list[float] = []
        self.networks: list[nn.Module] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimizer = trainer.optimizers[0]
        named = dict(pl_module.named_parameters())
        self.blocks.append(auxiliary_blocks(pl_module.get_submodule("network")))
        self.networks.append(copy.deepcopy(pl_module.get_submodule("network")))
        self.parameters.append({name: p.detach().clone() for name, p in named.items()})
        kept = {name: optimizer.state[p]["momentum_buffer"] for name, p in named.items() if p in optimizer.state}
        self.momentum.append({name: value.clone() for name, value in kept.items() if value is not None})
        self.held.append(len(optimizer.state))
        self.lr.append(optimizer.param_groups[0]["lr"])


def test_blocks_go_at_the_first_epochs_of_stages_with_fewer() -> None:
    stages, before, after = Stages.parse(TABLE), Watch(), Watch()
    fit(Classifier(network(), stages), before, DropAuxiliaryLayers(stages), after)
    assert before.blocks == [3, 3, 3, 1, 0]
    assert after.blocks == [3, 3, 1, 0, 0]


def test_what_stays_keeps_its_weights_and_momentum_and_what_goes_leaves_the_optimizer() -> None:
    stages, before, after = Stages.parse(TABLE), Watch(), Watch()
    fit(Classifier(network(), stages), before, DropAuxiliaryLayers(stages), after)
    for epoch, dropped in ((2, 2), (3, 1)):
        names = after.parameters[epoch].keys()
        assert len(before.parameters[epoch]) - len(names) == dropped * 6  # two convolutions with BatchNorm
        assert all(torch.equal(before.parameters[epoch][name], after.parameters[epoch][name]) for name in names)
        assert after.momentum[epoch].keys() == names
        assert all(torch.equal(before.momentum[epoch][name], after.momentum[epoch][name]) for name in names)
        assert all(bool(value.any()) for value in after.momentum[epoch].values())
        assert after.held[epoch] == len(names)


def test_the_learning_rate_follows_the_table_across_a_drop() -> None:
    stages, after = Stages.parse(TABLE), Watch()
    fit(Classifier(network(), stages), DropAuxiliaryLayers(stages), after)
    assert after.lr == pytest.approx([lr_at(stages, 2 * epoch, 2, 0.1) for epoch in range(5)])


class Release(Callback):
    """Looks whether the parameters of a dropped block are still held by anyone."""

    def __init__(self) -> None:
        self.references: list[Any] = []
        self.alive: list[int] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            block = pl_module.get_submodule("network.layer3.auxiliary.2")
            state = trainer.optimizers[0].state
            self.references = [weakref.ref(p) for p in block.parameters()]
            self.references += [weakref.ref(state[p]["momentum_buffer"]) for p in block.parameters()]
        gc.collect()
        self.alive.append(sum(reference() is not None for reference in self.references))


def test_a_dropped_block_is_held_by_nobody() -> None:
    stages, release = Stages.parse(TABLE), Release()
    fit(Classifier(network(), stages), DropAuxiliaryLayers(stages), release)
    assert release.alive == [12, 12, 0, 0, 0]


def test_after_the_drop_the_network_is_the_plain_one_key_for_key() -> None:
    stages = Stages.parse(TABLE)
    module = PrunedClassifier(network(), stages)
    fit(module, DropAuxiliaryLayers(stages), L1Pruning(stages))
    plain = PrunedClassifier(network(), Stages.parse([{"epochs": 1}]))
    assert list(module.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(module.state_dict(), strict=True)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(plain.network.eval()(images), module.network.eval()(images))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_target_refers_to_what_remains(scope: Scope) -> None:
    rows = [
        {"epochs": 1, "auxiliary": 2},
        {"epochs": 1, "sparsity": 0.5, "auxiliary": 1},
        {"epochs": 1, "sparsity": 0.5},
    ]
    stages, before, after = Stages.parse(rows), Watch(), Watch()
    module = PrunedClassifier(network(), stages, scope=scope, skip=["layer1"])
    fit(module, before, DropAuxiliaryLayers(stages), L1Pruning(stages), after)
    for epoch, blocks in ((1, 1), (2, 0)):
        remaining = copy.deepcopy(before.networks[epoch])
        set_auxiliary_blocks(remaining, blocks)
        zeros = zero_weights(after.networks[epoch])
        assert zeros == zeros_by_torch(remaining, 0.5, scope)
    weights = module.masks.weights_of(module.network)
    assert module.masks.by_name().keys() == weights.keys()
    assert not any("auxiliary" in name or "layer1" in name for name in weights)


def zero_weights(network: nn.Module) -> int:
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum(int((layer.weight == 0).sum()) for layer in layers)


def zeros_by_torch(network: nn.Module, sparsity: float, scope: Scope, all_layers: bool = False) -> int:
    kept = [name for name, _ in network.named_modules() if all_layers or "layer1" not in name]
    layers = [m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and name in kept]
    if scope == "layer":
        for layer in layers:
            prune.l1_unstructured(layer, "weight", amount=sparsity)
    else:
        pairs = [(layer, "weight") for layer in layers]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=sparsity)
    return zero_weights(network)


def test_pruned_weights_stay_zero_after_a_drop() -> None:
    rows = [{"epochs": 1, "sparsity": 0.5, "auxiliary": 1}, {"epochs": 2, "sparsity": 0.5}]
    stages = Stages.parse(rows)
    module = PrunedClassifier(network(), stages)
    fit(module, DropAuxiliaryLayers(stages), L1Pruning(stages))
    masks = module.masks.by_name()
    assert not any(bool((w[~masks[name]] != 0).any()) for name, w in module.masks.weights_of(module.network).items())
    assert module.masks.sparsity() == pytest.approx(0.5, abs=1e-3)


def test_a_table_of_equal_rows_trains_as_if_nobody_dropped() -> None:
    stages = Stages.parse([{"epochs": 2, "auxiliary": 1}, {"epochs": 1, "auxiliary": 1}])
    ends = []
    for callbacks in ([], [DropAuxiliaryLayers(stages)]):
        module = Classifier(network(), stages)
        fit(module, *callbacks)
        ends.append(module.network.state_dict())
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


class Gradients(Callback):
    """Counts the parameters that have a gradient in each optimizer step, and those of the network."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.seen.append((len(held), len(list(pl_module.parameters()))))


@pytest.mark.parametrize(
    ("settings", "steps"), [({"precision": "bf16-mixed"}, [2, 2, 2, 2, 2]), ({"accumulate_grad_batches": 2}, [1] * 5)]
)
def test_a_drop_in_mixed_precision_or_with_accumulated_gradients_keeps_what_stays(
    settings: dict[str, Any], steps: list[int]
) -> None:
    rows = [{"epochs": 2, "auxiliary": 3}, {"epochs": 1, "auxiliary": 1}, {"epochs": 2, "sparsity": 0.5}]
    stages, before, after, gradients = Stages.parse(rows), Watch(), Watch(), Gradients()
    module = PrunedClassifier(network(), stages)
    fit(module, before, DropAuxiliaryLayers(stages), after, L1Pruning(stages), gradients, **settings)
    for epoch, dropped in ((2, 2), (3, 1)):
        names = after.parameters[epoch].keys()
        assert len(before.parameters[epoch]) - len(names) == dropped * 6
        assert all(torch.equal(before.parameters[epoch][name], after.parameters[epoch][name]) for name in names)
        assert after.momentum[epoch].keys() == names
        assert all(torch.equal(before.momentum[epoch][name], after.momentum[epoch][name]) for name in names)
        assert after.held[epoch] == len(names)
    counts = [len(parameters) for parameters in after.parameters]
    assert gradients.seen == [(count, count) for count, times in zip(counts, steps, strict=True) for _ in range(times)]
    trained = dict(module.named_parameters())
    assert all(not torch.equal(value, trained[name]) for name, value in after.parameters[4].items())
    assert zero_weights(module.network) == zeros_by_torch(module.network, 0.5, "layer", all_layers=True)


def test_pruned_weights_do_not_return_where_blocks_with_less_sparsity_are_dropped() -> None:
    stages = Stages.parse([{"epochs": 1, "sparsity": 0.5, "auxiliary": 3}, {"epochs": 1, "sparsity": 0.5}])
    module = PrunedClassifier(network(), stages, scope="global")
    own = {name for name in module.masks.by_name() if "auxiliary" not in name}
    with torch.no_grad():  # the blocks have the largest weights, so that nearly all zeros are in what stays
        for name, weight in module.network.named_parameters():
            weight.mul_(100 if "auxiliary" in name else 1)
    seen: list[dict[str, Tensor]] = []

    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append({name: mask.clone() for name, mask in module.masks.by_name().items() if name in own})

    fit(module, DropAuxiliaryLayers(stages), L1Pruning(stages), Keep())
    first, second = seen
    off = sum(int((~mask).sum()) for mask in first.values()) / sum(mask.numel() for mask in first.values())
    assert off > 0.6
    assert all(torch.equal(first[name], second[name]) for name in own)
