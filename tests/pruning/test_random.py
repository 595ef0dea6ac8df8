import pytest
import torch
from torch import Tensor

from dasc.networks import prunable_weights
from dasc.pruning import Random
from tests.support.pruning import all_on, resnet


def drawn(weights: dict[str, Tensor], target: float, seed: int = 0) -> dict[str, Tensor]:
    return Random().masks(weights, all_on(weights), target, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("target", [0.0, 0.37, 0.9])
def test_each_layer_has_the_share_of_the_target(target: float) -> None:
    weights: dict[str, Tensor] = dict(prunable_weights(resnet(depth=8)))
    for name, mask in drawn(weights, target).items():
        assert int((~mask).sum()) == round(target * weights[name].numel())


def test_the_draws_depend_on_the_seed_and_not_on_the_weights() -> None:
    weights = {name: torch.randn(20, 10) for name in "ab"}
    others = {name: torch.zeros(20, 10) for name in "ab"}
    one = drawn(weights, 0.5)
    assert all(torch.equal(one[name], mask) for name, mask in drawn(others, 0.5).items())
    assert not any(torch.equal(one[name], mask) for name, mask in drawn(weights, 0.5, seed=1).items())
    assert not torch.equal(one["a"], one["b"])


def test_every_weight_is_pruned_as_often_as_any_other() -> None:
    weights = {"a": torch.arange(20.0)}
    generator = torch.Generator().manual_seed(0)
    runs = 4000
    kept = sum(Random().masks(weights, all_on(weights), 0.25, generator)["a"].float() for _ in range(runs))
    # binomial with p = 0.75: a standard deviation of 0.0068
    assert isinstance(kept, Tensor)
    assert torch.allclose(kept / runs, torch.full((20,), 0.75), atol=5 * 0.0068)


def test_weights_that_are_left_are_drawn_uniformly_at_the_next_target() -> None:
    weights = {"a": torch.arange(20.0)}
    current = {"a": torch.arange(20) >= 10}
    generator = torch.Generator().manual_seed(0)
    kept = sum(Random().masks(weights, current, 0.75, generator)["a"].float() for _ in range(4000))
    assert isinstance(kept, Tensor)
    assert not kept[:10].any()
    assert torch.allclose(kept[10:] / 4000, torch.full((10,), 0.5), atol=5 * 0.0079)
