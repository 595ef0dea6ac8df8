import math

import pytest
import torch
from torch import Tensor

from dasc.networks import prunable_weights
from dasc.pruning import LAMP
from tests.support.pruning import Change, all_on, off, resnet


def lamp(weights: dict[str, Tensor], target: float, current: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return LAMP().masks(weights, current or all_on(weights), target, torch.Generator())


def scores_by_loop(weight: list[float]) -> list[float]:
    """The score of Lee et al. as they define it: a square over the sum of those squares that are not smaller."""
    order = sorted(range(len(weight)), key=lambda place: abs(weight[place]))
    scores = [math.nan] * len(weight)
    for rank, place in enumerate(order):
        scores[place] = weight[place] ** 2 / math.fsum(weight[other] ** 2 for other in order[rank:])
    return scores


def masks_by_loop(weights: dict[str, Tensor], current: dict[str, Tensor], target: float) -> dict[str, list[bool]]:
    places = []
    for name, weight in weights.items():
        flags = current[name].flatten().tolist()
        left = [value * flag for value, flag in zip(weight.flatten().tolist(), flags, strict=True)]
        scores = scores_by_loop(left)
        places += [(scores[k] if flag else -1.0, name, k) for k, flag in enumerate(flags)]
    kept = {name: [True] * weight.numel() for name, weight in weights.items()}
    for _, name, k in sorted(places)[: round(target * len(places))]:
        kept[name][k] = False
    return kept


def drawn(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"conv": (8, 3, 3, 3), "narrow": (4, 5), "wide": (40, 10)}
    scales = {"conv": 1.0, "narrow": 1e-4, "wide": 30.0}
    return {
        name: scales[name] * torch.randn(size, generator=generator, dtype=torch.float64) for name, size in sizes.items()
    }


@pytest.mark.parametrize("target", [0.0, 0.2, 0.5, 0.8, 0.95])
def test_the_masks_are_those_of_a_loop_over_all_weights(target: float) -> None:
    weights = drawn()
    expected = masks_by_loop(weights, all_on(weights), target)
    assert {name: mask.flatten().tolist() for name, mask in lamp(weights, target).items()} == expected


@pytest.mark.parametrize("target", [0.3, 0.6, 0.9])
def test_pruned_weights_count_as_zeros_whatever_their_value(target: float) -> None:
    weights, current = drawn(1), lamp(drawn(2), 0.4)  # the values under these masks are not 0
    expected = masks_by_loop(weights, current, max(target, 0.4))
    assert {name: mask.flatten().tolist() for name, mask in lamp(weights, target, current).items()} == expected


def test_a_small_example_is_pruned_in_the_order_of_its_scores() -> None:
    # scores: a: 1/(1+4+9+16) = 1/30, 4/29, 9/25, 1 for 1, -2, 3, 4; b: 1/(1+9) = 1/10, 1 for 0.1, 0.3
    weights = {"a": torch.tensor([-2.0, 4.0, 1.0, 3.0]), "b": torch.tensor([0.3, -0.1])}
    order = [("a", 2), ("b", 1), ("a", 0), ("a", 3)]
    for count in range(5):
        masks = lamp(weights, count / 6)
        pruned = {(name, k) for name, mask in masks.items() for k, kept in enumerate(mask.tolist()) if not kept}
        assert pruned == set(order[:count])


def test_the_scale_of_a_layer_does_not_matter() -> None:
    weights = drawn()
    scaled = {name: weight * 2.0**k for k, (name, weight) in enumerate(weights.items())}  # exact
    one, other = lamp(weights, 0.7), lamp(scaled, 0.7)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_of_equal_size_are_counted_one_after_the_other() -> None:
    weights = {"equal": torch.full((4,), 0.5), "one": torch.tensor([1.0, 2.0, 2.0])}
    # scores 1/4, 1/3, 1/2, 1 and 1/9, 4/8, 1: a layer of equal weights is thinned out as well, and never removed
    masks = lamp(weights, 3 / 7)
    assert int(masks["equal"].sum()) == 2
    assert masks["one"].tolist() == [False, True, True]


@pytest.mark.parametrize("change", [lambda w: w, torch.zeros_like, lambda w: torch.full_like(w, 0.25)])
def test_no_layer_is_pruned_as_a_whole(change: Change) -> None:
    weights = drawn() | {"changed": change(torch.randn(3, 7)), "single": torch.tensor([[1e-9]])}
    total = sum(weight.numel() for weight in weights.values())
    masks = lamp(weights, 1 - len(weights) / total)
    assert [int(mask.sum()) for mask in masks.values()] == [1] * len(weights)


def test_layers_of_a_network_get_different_shares_and_the_total_is_the_target() -> None:
    weights = {name: weight.detach() for name, weight in prunable_weights(resnet(depth=8)).items()}
    masks = lamp(weights, 0.6)
    assert off(masks) == round(0.6 * sum(weight.numel() for weight in weights.values()))
    assert len({round(float(mask.float().mean()), 2) for mask in masks.values()}) > 3
