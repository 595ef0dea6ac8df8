import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from dasc.errors import UserError
from dasc.networks import CifarResNet, TorchvisionNetwork, prunable_weights
from dasc.sparsity import Masks, Scope, l1_masks

SPARSITIES = [0.0, 0.2, 0.4, 0.6, 0.8, 0.905]
SCOPES: list[Scope] = ["layer", "global"]

Change = Callable[[Tensor], Tensor]


def as_made(weight: Tensor) -> Tensor:
    return weight


def tied(weight: Tensor) -> Tensor:
    return (weight * 20).round() / 20


def equal(weight: Tensor) -> Tensor:
    return torch.full_like(weight, 0.25)


def with_zeros(weight: Tensor) -> Tensor:
    return weight * (torch.rand(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) > 0.3)


def resnet(change: Change = as_made, depth: int = 20) -> CifarResNet:
    torch.manual_seed(11)
    network = CifarResNet(10, depth=depth)
    with torch.no_grad():
        for weight in prunable_weights(network).values():
            weight.copy_(change(weight))
    return network


def by_torch(network: nn.Module, sparsity: float, scope: Scope) -> dict[str, Tensor]:
    network = copy.deepcopy(network)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    if scope == "layer":
        for layer in layers.values():
            prune.l1_unstructured(layer, "weight", amount=sparsity)
    else:
        pairs = [(layer, "weight") for layer in layers.values()]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=sparsity)
    return {f"{name}.weight": layer.get_buffer("weight_mask").bool() for name, layer in layers.items()}


def off(masks: dict[str, Tensor]) -> int:
    return sum(mask.flatten().tolist().count(False) for mask in masks.values())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("change", [as_made, tied, equal, with_zeros])
def test_the_masks_are_those_of_torch_prune_bit_for_bit(change: Change, sparsity: float, scope: Scope) -> None:
    network = resnet(change)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    got = l1_masks(prunable_weights(network), sparsity, scope)
    expected = by_torch(network, sparsity, scope)
    assert list(got) == list(expected)
    assert all(mask.dtype is torch.bool for mask in got.values())
    assert [name for name in got if not torch.equal(got[name], expected[name])] == []
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_the_smallest_weights_go_and_as_many_as_the_target_says(sparsity: float) -> None:
    weights = prunable_weights(resnet(depth=8))
    for name, mask in l1_masks(weights, sparsity, "layer").items():
        sizes = weights[name].detach().abs().flatten().tolist()
        cut = sorted(sizes)[: round(sparsity * len(sizes))]
        assert sorted(size for size, kept in zip(sizes, mask.flatten().tolist(), strict=True) if not kept) == cut
    together = l1_masks(weights, sparsity, "global")
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()]).tolist()
    kept = torch.cat([mask.flatten() for mask in together.values()]).tolist()
    cut = sorted(sizes)[: round(sparsity * len(sizes))]
    assert sorted(size for size, keep in zip(sizes, kept, strict=True) if not keep) == cut


def test_across_layers_the_shares_differ_and_within_layers_they_do_not() -> None:
    weights = prunable_weights(resnet(lambda weight: weight * weight.numel()))
    by_layer, together = (l1_masks(weights, 0.5, scope) for scope in SCOPES)
    shares = [{round(1 - float(mask.float().mean()), 3) for mask in masks.values()} for masks in (by_layer, together)]
    assert shares[0] == {0.5}
    assert len(shares[1]) > 3


@pytest.mark.parametrize("scope", SCOPES)
def test_targets_do_not_compound(scope: Scope) -> None:
    network = resnet()
    untouched = l1_masks(prunable_weights(network), 0.4, scope)
    weights = prunable_weights(network)
    for sparsity in (0.2, 0.4, 0.4):
        masks = l1_masks(weights, sparsity, scope)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(masks[name])
        zeros = sum(int((weight == 0).sum()) for weight in weights.values())
        total = sum(weight.numel() for weight in weights.values())
        assert off(masks) == zeros
        assert zeros == pytest.approx(sparsity * total, abs=len(weights))
    assert all(torch.equal(masks[name], untouched[name]) for name in masks)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_memory_layout_of_the_weights_does_not_matter(scope: Scope) -> None:
    network = resnet(tied)
    expected = l1_masks(prunable_weights(network), 0.6, scope)
    network.to(memory_format=torch.channels_last)
    got = l1_masks(prunable_weights(network), 0.6, scope)
    assert [name for name in got if not torch.equal(got[name], expected[name])] == []
    assert all(mask.is_contiguous() for mask in got.values())


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
    assert [other for other in SPARSITIES if masks.reached(other, scope)] == [sparsity]
    one = masks.by_name()["fc.weight"].view(-1)
    one[0] = ~one[0]
    assert not masks.reached(sparsity, scope)


def test_masks_with_the_right_total_have_not_reached_it_in_every_layer() -> None:
    network = resnet(lambda weight: weight * weight.numel(), depth=8)
    masks = Masks(network)
    masks.set(l1_masks(masks.weights_of(network), 0.5, "global"))
    assert masks.reached(0.5, "global")
    assert not masks.reached(0.5, "layer")


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


def test_a_network_without_prunable_weights_has_no_masks() -> None:
    assert l1_masks({}, 0.2, "global") == l1_masks({}, 0.2, "layer") == {}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_pruned_weights_stay_pruned_whatever_their_value_and_the_target(scope: Scope) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(10, 20, generator=generator) for name in "ab"}
    weights["a"][:, :3] = 0.0  # zeros that are not pruned
    current = {"a": torch.ones(10, 20, dtype=torch.bool), "b": torch.ones(10, 20, dtype=torch.bool)}
    current["a"][:4] = False
    current["b"][:8] = False
    for sparsity, expected in ((0.0, 240), (0.5, 240), (0.9, 360)):
        masks = l1_masks(weights, sparsity, scope, current)
        assert not any(bool((masks[name] & ~current[name]).any()) for name in "ab")
        off = sum(int((~mask).sum()) for mask in masks.values())
        # per layer, a has 80 pruned weights and b has 160: 50 % adds 20 to a
        assert off == expected + (20 if scope == "layer" and sparsity == 0.5 else 0)
