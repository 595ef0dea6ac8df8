import copy

import pytest
import torch
from torch import nn

from dasc.errors import UserError
from dasc.networks import CifarResNet, TorchvisionNetwork
from dasc.pruning import Masks, Scope
from tests.support.pruning import SCOPES, SPARSITIES, l1_masks, off, resnet


def test_there_is_one_mask_a_prunable_weight_under_its_name_and_all_are_on() -> None:
    network = TorchvisionNetwork(10, "mobilenet_v3_small")
    masks = Masks(network)
    weights = {
        f"{name}.weight": module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    assert {name: mask.shape for name, mask in masks.state_dict().items()} == {n: w.shape for n, w in weights.items()}
    assert list(masks.by_name()) == list(weights)
    assert all(mask.dtype is torch.bool and bool(mask.all()) for mask in masks.by_name().values())
    assert list(masks.parameters()) == []
    of_network = masks.weights_of(network)
    assert list(of_network) == list(weights)
    assert all(of_network[name] is weights[name] for name in weights)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_state_has_one_shape_at_every_sparsity(scope: Scope) -> None:
    network = resnet(depth=8)
    masks = Masks(network)
    shapes = {name: (mask.shape, mask.dtype, mask.data_ptr()) for name, mask in masks.state_dict().items()}
    for sparsity in SPARSITIES:
        masks.set(l1_masks(masks.weights_of(network), sparsity, scope))
        assert {n: (m.shape, m.dtype, m.data_ptr()) for n, m in masks.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("skip", "missing"),
    [
        ([], set[str]()),
        (["conv1"], {"conv1"}),
        (["conv1", "fc"], {"conv1", "fc"}),
        (["layer2"], {f"layer2.0.{name}" for name in ("conv1", "conv2", "shortcut.0")}),
        (["layer3.0.shortcut"], {"layer3.0.shortcut.0"}),
        (["layer1.0.conv2"], {"layer1.0.conv2"}),
    ],
)
def test_skip_takes_a_layer_out_and_all_below_it(skip: list[str], missing: set[str]) -> None:
    network = CifarResNet(10, depth=8, shortcut="B")
    names = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    masks = Masks(network, skip=skip)
    assert set(masks.state_dict()) == {f"{name}.weight" for name in names - missing}
    assert set(masks.weights_of(network)) == set(masks.state_dict())


def test_skip_does_not_take_a_layer_whose_name_only_begins_alike() -> None:
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)))
    assert set(Masks(network, skip=["1"]).state_dict()) == {f"{k}.weight" for k in range(12) if k != 1}


@pytest.mark.parametrize("skip", ["conv9", "layer", "bn1", "layer1.0.bn1", ""])
def test_a_skip_that_covers_no_layer_is_refused(skip: str) -> None:
    with pytest.raises(UserError) as error:
        Masks(resnet(depth=8), skip=["conv1", skip])
    assert str(error.value) == (f"skip names '{skip}', but the network has no convolution or linear layer of that name")


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_reached_is_true_at_exactly_the_target_and_sparsity_is_the_share_of_zeros(
    sparsity: float, scope: Scope
) -> None:
    network = resnet(depth=8)
    masks = Masks(network)
    masks.set(l1_masks(masks.weights_of(network), sparsity, scope))
    total = sum(mask.numel() for mask in masks.by_name().values())
    assert masks.sparsity() == off(masks.by_name()) / total
    assert masks.sparsity() == pytest.approx(sparsity, abs=1e-3)
    assert [other for other in SPARSITIES if masks.reached(other, scope == "layer")] == [sparsity]
    one = masks.by_name()["fc.weight"].view(-1)
    one[0] = ~one[0]
    assert not masks.reached(sparsity, scope == "layer")


def test_masks_with_the_right_total_have_not_reached_it_in_every_layer() -> None:
    network = resnet(lambda weight: weight * weight.numel(), depth=8)
    masks = Masks(network)
    masks.set(l1_masks(masks.weights_of(network), 0.5, "global"))
    assert masks.reached(0.5, layerwise=False)
    assert not masks.reached(0.5, layerwise=True)


def test_with_every_layer_skipped_nothing_is_sparse() -> None:
    masks = Masks(resnet(depth=8), skip=["conv1", "layer1", "layer2", "layer3", "fc"])
    assert masks.by_name() == {}
    assert masks.sparsity() == 0.0


def test_masks_survive_a_deep_copy_and_a_strict_load() -> None:
    network = resnet(depth=8)
    masks = Masks(network)
    masks.set(l1_masks(masks.weights_of(network), 0.6, "layer"))
    expected = {name: mask.clone() for name, mask in masks.by_name().items()}
    copied = copy.deepcopy(masks)
    loaded = Masks(network)
    loaded.load_state_dict(masks.state_dict(), strict=True)
    masks.set({name: torch.ones_like(mask) for name, mask in expected.items()})
    for other in (copied, loaded):
        assert list(other.by_name()) == list(expected)
        assert all(torch.equal(other.by_name()[name], mask) for name, mask in expected.items())
    assert masks.sparsity() == 0.0


def test_a_layer_may_be_called_as_a_method_of_the_masks_is() -> None:
    network = nn.ModuleDict({"sparsity": nn.Linear(3, 4), "set": nn.Sequential(nn.Linear(2, 2))})
    masks = Masks(network)
    assert list(masks.state_dict()) == ["sparsity.weight", "set.0.weight"]
    assert masks.sparsity() == 0
    masks.load_state_dict({name: torch.zeros_like(mask) for name, mask in masks.by_name().items()})
    assert masks.sparsity() == 1


def test_names_to_skip_may_cover_each_other() -> None:
    masks = Masks(CifarResNet(10, depth=8), skip=["layer1", "layer1.0", "conv1", "conv1"])
    assert not [name for name in masks.by_name() if name.startswith(("layer1.", "conv1."))]
    assert "layer2.0.conv1.weight" in masks.by_name()
