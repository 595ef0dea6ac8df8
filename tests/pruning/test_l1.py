import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from dasc.errors import UserError
from dasc.networks import prunable_weights
from dasc.pruning import L1, Scope
from tests.support.pruning import SCOPES, SPARSITIES, Change, as_made, equal, l1_masks, off, resnet, tied, with_zeros


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


def test_another_scope_is_refused() -> None:
    with pytest.raises(UserError) as error:
        L1("everything")  # type: ignore[arg-type]
    assert str(error.value) == "scope must be layer or global, got everything"
