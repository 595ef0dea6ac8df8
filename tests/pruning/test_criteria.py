"""Properties of every criterion, and of the package."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from dasc.pruning import L1, LAMP, Criterion, Random, prune_lowest


class Largest(Criterion):
    """Prunes the largest weights: its scores are below 0."""

    layerwise = True

    def masks(
        self, weights: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return prune_lowest({name: -weight.abs() for name, weight in weights.items()}, current, target, self.layerwise)


CRITERIA: list[Criterion] = [L1(), L1("global"), LAMP(), Random(), Largest()]
SHAPES = {"conv": (6, 3, 3, 3), "layer.0.weight": (7, 11), "row": (1, 5), "one": (1,)}


def drawn(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return weights, some of them tied or 0, and masks that prune a share of each layer from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    weights, masks = {}, {}
    for name, shape in SHAPES.items():
        weights[name] = (torch.randn(shape, generator=generator) * 5).round() / 5
        masks[name] = torch.rand(shape, generator=generator) >= torch.rand(1, generator=generator)
    return weights, masks


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
@pytest.mark.parametrize("target", [0.0, 0.1, 0.5, 0.77, 0.99])
def test_masks_stay_inside_the_current_ones_and_have_the_count_of_the_target(
    target: float, criterion: Criterion
) -> None:
    for seed in range(20):
        weights, current = drawn(seed)
        masks = criterion.masks(weights, current, target, torch.Generator().manual_seed(seed))
        assert list(masks) == list(weights)
        for name, mask in masks.items():
            assert mask.dtype is torch.bool
            assert mask.shape == weights[name].shape
            assert not bool((mask & ~current[name]).any())
        layers = [[name] for name in weights] if criterion.layerwise else [list(weights)]
        for layer in layers:
            asked = round(target * sum(weights[name].numel() for name in layer))
            before, after = (sum(int((~m[name]).sum()) for name in layer) for m in (current, masks))
            assert after == max(asked, before)


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_weights_and_masks_that_are_given_are_not_modified(criterion: Criterion) -> None:
    weights, current = drawn(3)
    copies = [{name: value.clone() for name, value in given.items()} for given in (weights, current)]
    criterion.masks(weights, current, 0.8, torch.Generator())
    for given, copied in zip((weights, current), copies, strict=True):
        assert all(torch.equal(given[name], copied[name]) for name in given)


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_without_layers_there_are_no_masks(criterion: Criterion) -> None:
    assert criterion.masks({}, {}, 0.5, torch.Generator()) == {}


class Every(Criterion):
    layerwise = False

    def __init__(self, step: int = 2, first: str = "end") -> None:
        self.step = step
        self.first = first
        self._calls = 0

    def masks(
        self, weights: Mapping[str, Tensor], current: Mapping[str, Tensor], target: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return dict(current)


def test_a_criterion_is_recorded_with_its_arguments_and_l1_as_before_there_were_others() -> None:
    assert Every(3).recipe() == {"criterion": {"class": "Every", "step": 3, "first": "end"}}
    assert str(Every(3)) == "criterion Every (step 3, first end)"
    assert LAMP().recipe() == {"criterion": {"class": "LAMP"}}
    assert str(LAMP()) == "criterion LAMP"
    assert [L1().recipe(), L1("global").recipe()] == [{"scope": "layer"}, {"scope": "global"}]
