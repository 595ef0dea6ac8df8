from typing import Any, Literal, NamedTuple

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from dasc.callbacks import L1Pruning
from dasc.data import ImageData
from dasc.modules import Classifier, InitFrom, PrunedClassifier, start_from
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.errors import user_error
from tests.support.training import bare_trainer


class Saved(NamedTuple):
    path: str
    weights: dict[str, Tensor]
    masks: dict[str, Tensor]


def network(num_classes: int = 10, depth: int = 8, seed: int = 1) -> CifarResNet:
    torch.manual_seed(seed)
    return CifarResNet(num_classes, depth)


def stages(sparsity: float) -> Stages:
    return Stages.parse([{"epochs": 1, "sparsity": sparsity}])


def fit(module: Classifier, batches: int = 2) -> Trainer:
    trainer = bare_trainer(
        max_epochs=1,
        limit_train_batches=batches,
        limit_val_batches=0,
        callbacks=[L1Pruning(module.stages)] if isinstance(module, PrunedClassifier) else [],
    )
    trainer.fit(module, datamodule=ImageData("digits", batch_size=128))
    return trainer


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    module = PrunedClassifier(network(seed=0), stages(0.5))
    path = tmp_path_factory.mktemp("pruned") / "last.ckpt"
    fit(module).save_checkpoint(path)
    weights = {name: value.clone() for name, value in module.network.state_dict().items()}
    return Saved(str(path), weights, {name: mask.clone() for name, mask in module.masks.by_name().items()})


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    module = Classifier(network(seed=0), stages(0.0))
    path = tmp_path_factory.mktemp("dense") / "last.ckpt"
    fit(module).save_checkpoint(path)
    return Saved(str(path), {name: value.clone() for name, value in module.network.state_dict().items()}, {})


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert list(one) == list(other)
    return [name for name in one if torch.equal(one[name], other[name])]


def test_weights_are_all_of_the_checkpoints_and_masks_stay_all_true(pruned: Saved) -> None:
    module = PrunedClassifier(network(), stages(0.0))
    start_from(module, InitFrom(pruned.path, "weights"))
    assert same(module.network.state_dict(), pruned.weights) == list(pruned.weights)
    assert all(bool(mask.all()) for mask in module.masks.by_name().values())


def test_weights_come_into_a_classifier_without_masks_too(pruned: Saved) -> None:
    module = Classifier(network(), stages(0.0))
    start_from(module, InitFrom(pruned.path))
    assert same(module.network.state_dict(), pruned.weights) == list(pruned.weights)


def test_masks_come_over_the_fresh_weights(pruned: Saved) -> None:
    module, fresh = PrunedClassifier(network(), stages(0.5)), network().state_dict()
    start_from(module, InitFrom(pruned.path, "masks"))
    assert same(module.masks.by_name(), pruned.masks) == list(pruned.masks)
    expected = {name: value * pruned.masks[name] if name in pruned.masks else value for name, value in fresh.items()}
    assert same(module.network.state_dict(), expected) == list(expected)


def test_both_brings_weights_and_masks(pruned: Saved) -> None:
    module = PrunedClassifier(network(), stages(0.5))
    start_from(module, InitFrom(pruned.path, "both"))
    assert same(module.network.state_dict(), pruned.weights) == list(pruned.weights)
    assert same(module.masks.by_name(), pruned.masks) == list(pruned.masks)


@pytest.mark.parametrize("load", ["masks", "both"])
def test_loaded_masks_stay_through_pruning_and_training_where_the_first_row_asks_for_them(
    pruned: Saved, load: Literal["masks", "both"]
) -> None:
    module = PrunedClassifier(network(), stages(0.5))
    start_from(module, InitFrom(pruned.path, load))
    fit(module, batches=3)
    assert same(module.masks.by_name(), pruned.masks) == list(pruned.masks)
    for name, mask in pruned.masks.items():
        assert torch.equal(module.network.get_parameter(name) != 0, mask)


def test_masks_are_pruned_further_where_the_first_row_asks_for_more(pruned: Saved) -> None:
    module = PrunedClassifier(network(), stages(0.8))
    start_from(module, InitFrom(pruned.path, "masks"))
    fit(module)
    for name, mask in module.masks.by_name().items():
        assert int((~mask).sum()) == round(0.8 * mask.numel())
        assert not bool((mask & ~pruned.masks[name]).any())


@pytest.mark.parametrize("num_classes", [10, 7])
def test_a_new_head_is_the_fresh_one_and_all_below_is_loaded(dense: Saved, num_classes: int) -> None:
    module, fresh = Classifier(network(num_classes), stages(0.0)), network(num_classes).state_dict()
    start_from(module, InitFrom(dense.path, head="new"))
    for name, value in module.network.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith("fc.") else dense.weights[name])
    assert not torch.equal(dense.weights["conv1.weight"], fresh["conv1.weight"])


@pytest.mark.parametrize(
    ("settings", "differs"), [({"depth": 14}, "layer1.1.bn1.bias"), ({"num_classes": 7}, "fc.bias")]
)
def test_weights_of_another_network_are_refused_with_what_differs(
    dense: Saved, settings: dict[str, Any], differs: str
) -> None:
    message = user_error(start_from, Classifier(network(**settings), stages(0.0)), InitFrom(dense.path))
    assert message.startswith(f"{dense.path} has another network than this run ({differs} differs; it is ")
    assert "'depth': 8" in message
    assert "set model.network to it, or init_from.head to new" in message


@pytest.mark.parametrize("load", ["masks", "both"])
def test_masks_for_a_module_without_masks_are_refused(pruned: Saved, load: Literal["masks", "both"]) -> None:
    message = user_error(start_from, Classifier(network(), stages(0.0)), InitFrom(pruned.path, load))
    assert message == "init_from loads masks, but Classifier has none: set model to PrunedClassifier"


@pytest.mark.parametrize(("settings", "skip"), [({"depth": 14}, None), ({"num_classes": 7}, None), ({}, ["conv1"])])
def test_masks_of_other_layers_are_refused(pruned: Saved, settings: dict[str, Any], skip: list[str] | None) -> None:
    message = user_error(
        start_from, PrunedClassifier(network(**settings), stages(0.5), skip=skip), InitFrom(pruned.path, "masks")
    )
    assert f"the masks in {pruned.path} are of other layers than this run prunes" in message


def test_a_checkpoint_without_masks_has_none_to_load(dense: Saved) -> None:
    message = user_error(start_from, PrunedClassifier(network(), stages(0.5)), InitFrom(dense.path, "masks"))
    assert f"the masks in {dense.path}" in message or "no masks" in message


def test_masks_sparser_than_the_first_row_are_refused_with_both_numbers(pruned: Saved) -> None:
    message = user_error(start_from, PrunedClassifier(network(), stages(0.2)), InitFrom(pruned.path, "masks"))
    assert "have sparsity 0.5000, the first row of stages only 0.2: " in message
    assert "write at least that" in message


def test_a_missing_file_is_named() -> None:
    message = user_error(start_from, Classifier(network(), stages(0.0)), InitFrom("nowhere/last.ckpt"))
    assert message == "there is no checkpoint nowhere/last.ckpt: check the path"
