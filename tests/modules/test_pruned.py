import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import Optimizer

from dasc.callbacks import L1Pruning
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet, auxiliary_blocks, prunable_weights, set_auxiliary_blocks
from dasc.pruning import L1, LAMP, Criterion, Random
from dasc.stages import Stages

TABLE = [{"epochs": 1}, {"epochs": 1, "sparsity": 0.5}, {"epochs": 1, "sparsity": 0.8}]

MakeOptimizer = Callable[[Any], Optimizer]


def sgd(parameters: Any) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)


def adamw(parameters: Any) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


def network() -> CifarResNet:
    torch.manual_seed(0)
    return CifarResNet(10, depth=8)


def fit(module: Classifier, *callbacks: Callback, **settings: Any) -> Trainer:
    base: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": module.stages.total_epochs,
        "limit_train_batches": 3,
        "limit_val_batches": 0,
        "callbacks": [L1Pruning(module.stages), *callbacks],
    }
    trainer = Trainer(**(base | settings))
    trainer.fit(module, datamodule=ImageData("digits", batch_size=128))
    return trainer


def layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def weights(module: PrunedClassifier) -> dict[str, Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in layers(module.network).items()}


class AfterEachStep(Callback):
    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.masks: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PrunedClassifier)
        self.weights.append(weights(pl_module))
        named = pl_module.masks.by_name().items()
        self.masks.append({name.removesuffix(".weight"): mask.clone() for name, mask in named})


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("optimizer", [sgd, adamw])
def test_pruned_weights_are_zero_after_every_step_and_the_others_move(
    optimizer: MakeOptimizer, precision: Literal["32-true", "bf16-mixed"]
) -> None:
    module, steps = PrunedClassifier(network(), Stages.parse(TABLE), optimizer=optimizer), AfterEachStep()
    fit(module, steps, precision=precision)
    asked = [0.0] * 3 + [0.5] * 3 + [0.8] * 3
    assert len(steps.weights) == 9
    for sparsity, now, masks in zip(asked, steps.weights, steps.masks, strict=True):
        for name, weight in now.items():
            assert int((~masks[name]).sum()) == round(sparsity * weight.numel())
            assert not weight[~masks[name]].any()
            # AdamW's steps have the size of the learning rate at first: a weight may hit 0
            assert int((weight[masks[name]] == 0).sum()) <= 1
    for before, after, masks in zip(steps.weights[3:5], steps.weights[4:6], steps.masks[4:6], strict=True):
        for name, mask in masks.items():
            assert float((before[name] != after[name])[mask].float().mean()) > 0.99


class AtPruning(Callback):
    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PrunedClassifier)
        masks = pl_module.masks.by_name()
        for name, weight in pl_module.network.named_parameters():
            for value in trainer.optimizers[0].state.get(weight, {}).values():
                if name in masks and isinstance(value, Tensor) and value.shape == weight.shape:
                    self.kept.append((value.clone(), masks[name].clone()))


@pytest.mark.parametrize(("optimizer", "buffers"), [(sgd, 1), (adamw, 2)])
def test_what_the_optimizer_keeps_of_pruned_weights_is_zero_as_soon_as_they_are_pruned(
    optimizer: MakeOptimizer, buffers: int
) -> None:
    module, look = PrunedClassifier(network(), Stages.parse(TABLE), optimizer=optimizer), AtPruning()
    fit(module, look)
    assert len(look.kept) == 2 * buffers * len(layers(module.network))
    for value, mask in look.kept:
        assert int((~mask).sum()) > 0
        assert not value[~mask].any()
        assert float((value[mask] != 0).float().mean()) > 0.9


def test_biases_and_batch_norm_have_no_masks_and_stay_as_they_are() -> None:
    module = PrunedClassifier(network(), Stages.parse([{"epochs": 1}]))
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.normal_()
    before = copy.deepcopy(module.network.state_dict())
    module.set_masks(module.masks_at(0.9, 0))
    masked = [f"{name}.weight" for name in layers(module.network)]
    assert list(module.masks.by_name()) == masked
    after = module.network.state_dict()
    assert [name for name in after if not torch.equal(after[name], before[name])] == masked
    assert {"fc.bias", "bn1.weight", "bn1.bias"} <= after.keys() - set(masked)


@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.9])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_masks_are_those_of_torch_prune(scope: Literal["layer", "global"], sparsity: float) -> None:
    module = PrunedClassifier(network(), Stages.parse([{"epochs": 1, "sparsity": sparsity}]), scope=scope)
    twin = copy.deepcopy(module.network)
    if scope == "layer":
        for layer in layers(twin).values():
            prune.l1_unstructured(layer, "weight", amount=sparsity)
    else:
        every = [(layer, "weight") for layer in layers(twin).values()]
        prune.global_unstructured(every, pruning_method=prune.L1Unstructured, amount=sparsity)
    masks = module.masks_at(sparsity, 0)
    module.set_masks(masks)
    for name, layer in layers(twin).items():
        expected = layer.get_buffer("weight_mask")
        assert torch.equal(masks[f"{name}.weight"], expected.bool())
        assert torch.equal(layers(module.network)[name].weight, layer.get_parameter("weight_orig") * expected)


class Clipping(Callback):
    def __init__(self) -> None:
        self.before: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.before.append(self._gradients(pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.after.append(self._gradients(pl_module))

    def _gradients(self, module: LightningModule) -> dict[str, Tensor]:
        named = module.get_submodule("network").named_parameters()
        return {name: p.grad.detach().clone() for name, p in named if p.grad is not None}


def test_clipping_counts_only_the_gradients_of_weights_that_are_left() -> None:
    module, clipping = PrunedClassifier(network(), Stages.parse([{"epochs": 1, "sparsity": 0.9}])), Clipping()
    fit(module, clipping, gradient_clip_val=0.01)
    masks = module.masks.by_name()
    assert len(clipping.after) == 3
    for before, after in zip(clipping.before, clipping.after, strict=True):
        left = {name: g.double() * masks[name] if name in masks else g.double() for name, g in before.items()}
        norm = sum(float((g**2).sum()) for g in left.values()) ** 0.5
        everything = sum(float((g.double() ** 2).sum()) for g in before.values()) ** 0.5
        assert 0.01 < norm < 0.9 * everything
        for name, gradient in left.items():
            assert torch.allclose(after[name].double(), gradient * 0.01 / norm, rtol=1e-3, atol=1e-9)


def test_without_clipping_gradients_are_as_they_came() -> None:
    module, clipping = PrunedClassifier(network(), Stages.parse([{"epochs": 1, "sparsity": 0.9}])), Clipping()
    fit(module, clipping)
    for before, after in zip(clipping.before, clipping.after, strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("skip", "dense"), [(["conv1"], ["conv1"]), (["layer1", "fc"], ["layer1.0.conv1", "layer1.0.conv2", "fc"])]
)
def test_a_skipped_layer_stays_dense(skip: list[str], dense: list[str]) -> None:
    module = PrunedClassifier(network(), Stages.parse([{"epochs": 1, "sparsity": 0.6}]), skip=skip)
    fit(module)
    for name, weight in weights(module).items():
        assert int((weight == 0).sum()) == (0 if name in dense else round(0.6 * weight.numel()))
    assert set(module.masks.by_name()) == {f"{name}.weight" for name in layers(module.network) if name not in dense}
    assert module.recipe()["skip"] == skip


def test_a_name_in_skip_that_is_no_layer_is_named() -> None:
    with pytest.raises(UserError, match="skip names 'conv9', but the network has no convolution or linear layer"):
        PrunedClassifier(network(), Stages.parse([{"epochs": 1}]), skip=["conv9"])


def test_masks_all_true_train_as_an_unpruned_classifier_does_bit_for_bit() -> None:
    stages = Stages.parse([{"epochs": 2}])
    pruned, plain = PrunedClassifier(network(), stages), Classifier(network(), stages)
    fit(pruned)
    fit(plain, callbacks=[])
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, pruned.network.state_dict()[name])


def test_masks_that_have_reached_the_target_stay_even_where_other_weights_are_smaller() -> None:
    module = PrunedClassifier(network(), Stages.parse([{"epochs": 1, "sparsity": 0.5}]))
    # every layer has an even number of weights: the larger half is as large as the smaller one
    largest_off = {name: ~mask for name, mask in module.masks_at(0.5, 0).items()}
    module.set_masks(largest_off)
    with torch.no_grad():
        module.network.get_parameter("fc.weight").zero_()  # only the mask tells the pruned ones apart
    again = module.masks_at(0.5, 0)
    assert all(torch.equal(mask, largest_off[name]) for name, mask in again.items())
    fit(module)
    for name, mask in module.masks.by_name().items():
        assert torch.equal(mask, largest_off[name])
        assert torch.equal(module.network.get_parameter(name) != 0, mask)


CRITERIA: list[Criterion] = [L1("global"), LAMP(), Random()]


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_a_criterion_prunes_to_the_targets_of_the_table(criterion: Criterion) -> None:
    module, steps = PrunedClassifier(network(), Stages.parse(TABLE), criterion=criterion), AfterEachStep()
    fit(module, steps)
    for target, now, masks in zip([0.0, 0.5, 0.8], steps.weights[2::3], steps.masks[2::3], strict=True):
        zeros = {name: int((~mask).sum()) for name, mask in masks.items()}
        assert sum(zeros.values()) == round(target * sum(mask.numel() for mask in masks.values()))
        assert all(not now[name][~mask].any() for name, mask in masks.items())
        shares = {round(zeros[name] / mask.numel(), 2) for name, mask in masks.items()}
        assert (shares == {target}) == (isinstance(criterion, Random) or target == 0)
    for earlier, later in pairwise(steps.masks):
        assert not any(bool((later[name] & ~earlier[name]).any()) for name in later)


def test_random_masks_depend_on_the_seed_of_the_run_and_on_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(seed: int, stage: int, fill: float) -> Tensor:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        module = PrunedClassifier(network(), Stages.parse(TABLE), criterion=Random())
        torch.rand(int(fill * 10))  # draws of others do not count
        with torch.no_grad():
            module.network.get_parameter("fc.weight").fill_(fill)
        return module.masks_at(0.5, stage)["fc.weight"]

    assert torch.equal(drawn(3, 1, 0.2), drawn(3, 1, 0.7))
    assert not torch.equal(drawn(3, 1, 0.2), drawn(4, 1, 0.2))
    assert not torch.equal(drawn(3, 1, 0.2), drawn(3, 2, 0.2))


def test_scope_and_criterion_together_are_refused() -> None:
    with pytest.raises(UserError) as error:
        PrunedClassifier(network(), Stages.parse(TABLE), scope="global", criterion=LAMP())
    assert str(error.value) == (
        "scope must not be set together with criterion, got scope global and criterion LAMP: leave one of them out"
    )


def test_the_recipe_of_l1_is_that_of_earlier_checkpoints_and_names_other_criteria() -> None:
    def recipe(**settings: Any) -> dict[str, Any]:
        return PrunedClassifier(network(), Stages.parse(TABLE), **settings).recipe()

    names = {"module", "optimizer", "label_smoothing", "recalibrate", "averaging", "scope", "skip"}
    assert recipe().keys() == names
    assert (recipe()["scope"], recipe(scope="global")["scope"]) == ("layer", "global")
    assert recipe(scope="global") == recipe(criterion=L1("global"))
    assert recipe(criterion=LAMP()) == recipe() | {"criterion": {"class": "LAMP"}}


@pytest.mark.parametrize(("given", "asked"), [(0, 2), (3, 1), (2, 0), (2, 2)])
@pytest.mark.parametrize("kind", [Classifier, PrunedClassifier])
def test_a_network_with_another_number_of_blocks_is_copied_and_not_modified(
    kind: type[Classifier], given: int, asked: int
) -> None:
    mine = network()
    set_auxiliary_blocks(mine, given)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    module = kind(mine, Stages.parse([{"epochs": 1, "auxiliary": asked}]))
    assert auxiliary_blocks(mine) == given
    assert {name: value.shape for name, value in mine.state_dict().items()} == {n: v.shape for n, v in before.items()}
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    assert (module.network is mine) == (given == asked)
    assert auxiliary_blocks(module.network) == asked
    own = module.network.state_dict()
    assert all(torch.equal(own[name], before[name]) for name in own.keys() & before.keys())
    if isinstance(module, PrunedClassifier):
        assert list(module.masks.by_name()) == list(prunable_weights(module.network))
