import pytest
import torch

from dasc.networks import CifarResNet, forward_in_parts


@pytest.mark.parametrize(
    ("count", "side", "passes"), [(70, 32, [32, 32, 6]), (70, 8, [70]), (32, 32, [32]), (3, 128, [2, 1])]
)
def test_a_cpu_passes_what_its_caches_hold_at_once(count: int, side: int, passes: list[int]) -> None:
    network = CifarResNet(10, depth=8).eval()
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    images = torch.randn(count, 3, side, side)
    logits = forward_in_parts(network, images)
    assert seen == passes
    with torch.no_grad():
        assert torch.allclose(logits, network(images), atol=1e-5)
    assert not logits.requires_grad
