from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dasc.networks import CifarMobileNetV2, CifarResNet, CifarShuffleNetV2, TorchvisionNetwork
from dasc.networks.features import features_and_logits, last_linear

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet": (lambda: CifarResNet(10, depth=8), 64),
    "mobilenet": (lambda: CifarMobileNetV2(10), 1280),
    "shufflenet": (lambda: CifarShuffleNetV2(10), 1024),
    "torchvision, several linear layers": (lambda: TorchvisionNetwork(10, "mobilenet_v3_small"), 1024),
}


def eval_network(name: str) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    make, features = NETWORKS[name]
    network = make()
    network(torch.randn(8, 3, 16, 16))  # statistics of BatchNorm that are not those of a new network
    return network.eval(), features


def images() -> Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def hooks(network: nn.Module) -> int:
    modules = list(network.modules())
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in modules)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_logits_are_the_networks_and_come_from_the_features_by_the_last_layer(name: str) -> None:
    network, width = eval_network(name)
    features, logits = features_and_logits(network, images())
    assert torch.equal(logits, network(images()))
    layer = last_linear(network)
    assert features is not None
    assert layer is not None
    assert features.shape == (6, width)
    by_hand = features.double() @ layer.weight.double().T + layer.bias.double()
    assert torch.allclose(by_hand, logits.double(), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_features_of_a_resnet_are_the_means_of_its_last_channels() -> None:
    network = CifarResNet(10, depth=8).eval()
    x = torch.relu(network.bn1(network.conv1(images())))
    expected = network.layer3(network.layer2(network.layer1(x))).mean((2, 3))
    features, _ = features_and_logits(network, images())
    assert features is not None
    assert torch.equal(features, expected)


def test_the_last_linear_layer_makes_the_logits() -> None:
    network = CifarResNet(10, depth=8)
    assert last_linear(network) is network.fc
    two = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert last_linear(two) is two[2]
    assert last_linear(nn.Conv2d(3, 3, 1)) is None


@torch.no_grad()
def test_a_network_without_a_linear_layer_has_logits_only() -> None:
    torch.manual_seed(0)
    network = TorchvisionNetwork(10, "squeezenet1_1").eval()
    large = torch.randn(2, 3, 32, 32)
    assert last_linear(network) is None
    features, logits = features_and_logits(network, large)
    assert features is None
    assert torch.equal(logits, network(large))


def test_the_hook_is_gone_afterwards() -> None:
    network, _ = eval_network("resnet")
    features_and_logits(network, images())
    assert hooks(network) == 0


class Breaking(CifarResNet):
    def forward(self, images: Tensor) -> Tensor:
        super().forward(images)
        raise ArithmeticError("after the last layer")


def test_the_hook_is_gone_after_an_exception() -> None:
    network = Breaking(10, depth=8).eval()
    with pytest.raises(ArithmeticError, match="after the last layer"):
        features_and_logits(network, images())
    assert hooks(network) == 0
    narrow = CifarResNet(10, depth=8)
    with pytest.raises(RuntimeError):
        features_and_logits(narrow, torch.zeros(2, 5, 16, 16))
    assert hooks(narrow) == 0


def test_gradients_reach_the_network_through_the_features() -> None:
    network = CifarResNet(10, depth=8).eval()
    features, _ = features_and_logits(network, images())
    assert features is not None
    features.sum().backward()
    assert network.conv1.weight.grad is not None
    assert float(network.conv1.weight.grad.abs().sum()) > 0
    assert network.fc.weight.grad is None
