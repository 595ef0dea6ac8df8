"""CifarMobileNetV2 and CifarShuffleNetV2 against the published sizes and torchvision's networks."""

import pytest
import torch
from torch import nn
from torchvision import models

from dasc.errors import UserError
from dasc.networks import CifarMobileNetV2, CifarShuffleNetV2, build_network, count, describe_network

# https://github.com/chenyaofo/pytorch-cifar-models: parameters and multiply-adds in millions
PUBLISHED = [
    (CifarMobileNetV2, 10, 2.24, 87.98),
    (CifarMobileNetV2, 100, 2.35, 88.09),
    (CifarShuffleNetV2, 10, 1.26, 45.00),
    (CifarShuffleNetV2, 100, 1.36, 45.09),
]


@pytest.mark.parametrize(("kind", "classes", "parameters", "macs"), PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(
    kind: type[nn.Module], classes: int, parameters: float, macs: float
) -> None:
    sizes = count(kind(classes), (32, 32))
    assert round(sizes.parameters / 1e6, 2) == parameters
    assert round(sizes.macs / 1e6, 2) == macs


@pytest.mark.parametrize(
    ("kind", "last"), [(CifarMobileNetV2, "features.18"), (CifarShuffleNetV2, "conv5")], ids=["MobileNetV2", "Shuffle"]
)
def test_images_of_32_come_to_4_before_the_pooling(kind: type[nn.Module], last: str) -> None:
    network = kind(10).eval()
    sizes: list[torch.Size] = []
    network.get_submodule(last).register_forward_hook(lambda _, given, out: sizes.append(out.shape[2:]))
    with torch.no_grad():
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
        network(torch.randn(1, 3, 8, 8))
    assert sizes == [(4, 4), (1, 1)]


@pytest.mark.parametrize(
    ("kind", "name"), [(CifarMobileNetV2, "mobilenet_v2"), (CifarShuffleNetV2, "shufflenet_v2_x1_0")]
)
def test_the_weights_are_torchvisions_under_the_same_keys(kind: type[nn.Module], name: str) -> None:
    own, theirs = kind(10), models.get_model(name, weights=None, num_classes=10)
    assert own.state_dict().keys() == theirs.state_dict().keys()
    own.load_state_dict(theirs.state_dict())


def test_with_torchvisions_strides_the_outputs_are_torchvisions() -> None:
    theirs = models.mobilenet_v2(weights=None, num_classes=10).eval()
    own = CifarMobileNetV2(10).eval()
    own.load_state_dict(theirs.state_dict())
    strides = [m.stride for m in theirs.modules() if isinstance(m, nn.Conv2d)]
    ours = [m for m in own.modules() if isinstance(m, nn.Conv2d)]
    different = [k for k, (layer, stride) in enumerate(zip(ours, strides, strict=True)) if layer.stride != stride]
    assert len(different) == 2
    for layer, stride in zip(ours, strides, strict=True):
        layer.stride = stride
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(own(images), theirs(images))


@pytest.mark.parametrize("network", [CifarMobileNetV2(7, width=0.5, dropout=0.1), CifarShuffleNetV2(7, width="x0_5")])
def test_a_width_survives_the_description(network: nn.Module) -> None:
    again = build_network(describe_network(network))
    assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]
    assert describe_network(again) == describe_network(network)


def test_a_wider_network_is_larger() -> None:
    half, full = (count(CifarMobileNetV2(10, width=w), (32, 32)).parameters for w in (0.5, 1.0))
    assert half == 700_490  # torchvision's mobilenet_v2(width_mult=0.5, num_classes=10)
    assert half < full
    assert count(CifarShuffleNetV2(10, width="x0_5"), (32, 32)).parameters == 352_042  # shufflenet_v2_x0_5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CifarMobileNetV2(10, width=0), "width is 0: write a number over 0"),
        (lambda: CifarMobileNetV2(10, dropout=1.0), "dropout is 1.0: write a number from 0 to below 1"),
        (
            lambda: CifarShuffleNetV2(10, width="x3"),  # type: ignore[arg-type]
            "unknown width of ShuffleNetV2 'x3'",
        ),
    ],
)
def test_a_setting_out_of_its_range_is_named(make: type[nn.Module], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make()
    assert message in str(raised.value)
