import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.networks import (
    AuxiliaryPlace,
    CifarMobileNetV2,
    CifarResNet,
    CifarShuffleNetV2,
    TorchvisionNetwork,
    auxiliary_blocks,
    count,
    set_auxiliary_blocks,
)


class Own(nn.Module):
    """A user's network: one method makes the place."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.features(images).mean((2, 3))
        return out

    def auxiliary_place(self) -> AuxiliaryPlace:
        return AuxiliaryPlace(self.features, lambda: nn.Conv2d(6, 6, 3, padding=1, bias=False), before=1)


Case = tuple[Callable[[], nn.Module], str, int, int, int]

# parameters and MACs of one block at 64x64 input, by hand: weights of convolutions, and two of each channel's BatchNorm
MOBILE = 320 * 1920 + 9 * 1920 + 1920 * 320
SHUFFLE = 232 * 232 + 9 * 232 + 232 * 232
CASES: dict[str, Case] = {
    "ResNet": (lambda: CifarResNet(10, depth=8), "layer3", 2, 2 * 9 * 64**2 + 4 * 64, 2 * 9 * 64**2 * 16**2),
    "MobileNetV2": (lambda: CifarMobileNetV2(10), "features", 3, MOBILE + 4 * 1920 + 2 * 320, MOBILE * 8**2),
    "ShuffleNetV2": (lambda: CifarShuffleNetV2(10), "stage4", 3, SHUFFLE + 6 * 232, SHUFFLE * 8**2),
    "torchvision's ResNet": (
        lambda: TorchvisionNetwork(10, "resnet18"),
        "model.layer4",
        2,
        2 * 9 * 512**2 + 4 * 512,
        2 * 9 * 512**2 * 2**2,
    ),
    "torchvision's ResNeXt": (
        lambda: TorchvisionNetwork(10, "resnext50_32x4d"),
        "model.layer4",
        3,
        2048 * 1024 * 2 + 9 * 1024**2 // 32 + 4 * 1024 + 2 * 2048,
        (2048 * 1024 * 2 + 9 * 1024**2 // 32) * 2**2,
    ),
    "torchvision's MobileNetV2": (
        lambda: TorchvisionNetwork(10, "mobilenet_v2"),
        "model.features",
        3,
        MOBILE + 4 * 1920 + 2 * 320,
        MOBILE * 2**2,
    ),
    "torchvision's ShuffleNetV2": (
        lambda: TorchvisionNetwork(10, "shufflenet_v2_x1_0"),
        "model.stage4",
        3,
        SHUFFLE + 6 * 232,
        SHUFFLE * 2**2,
    ),
}
each_network = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@each_network
def test_a_block_adds_what_a_count_by_hand_gives(case: Case) -> None:
    make, _, layers, parameters, macs = case
    network = make()
    plain = count(network, (64, 64))
    set_auxiliary_blocks(network, 3)
    more = count(network, (64, 64))
    assert auxiliary_blocks(network) == 3
    assert (more.layers - plain.layers, more.parameters - plain.parameters, more.macs - plain.macs) == (
        *(3 * layers, 3 * parameters, 3 * macs),
    )


@each_network
def test_only_the_keys_of_the_blocks_are_new_and_they_go_as_they_came(case: Case) -> None:
    make, place, *_ = case
    network = make().eval()
    plain = copy.deepcopy(network)
    set_auxiliary_blocks(network, 2)
    new = [key for key in network.state_dict() if key not in plain.state_dict()]
    assert all(key.startswith(f"{place}.auxiliary.") for key in new)
    assert set(network.state_dict()) - set(new) == set(plain.state_dict())
    set_auxiliary_blocks(network, 0)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in network.named_modules()] == [name for name, _ in plain.named_modules()]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), plain(images))


@each_network
def test_blocks_take_part_and_leave_the_shape(case: Case) -> None:
    make, place, *_ = case
    network = make().eval()
    set_auxiliary_blocks(network, 2)
    blocks = network.get_submodule(f"{place}.auxiliary")
    seen: list[tuple[torch.Size, torch.Size]] = []
    for block in blocks.children():
        block.register_forward_hook(lambda _, given, out: seen.append((given[0].shape, out.shape)))
    with torch.no_grad():
        network(torch.randn(1, 3, 32, 32))
    assert len(seen) == 2
    assert all(given == out for given, out in seen)


def test_the_last_blocks_are_dropped_first() -> None:
    network = Own()
    set_auxiliary_blocks(network, 5)
    first = [weight.clone() for weight in network.features.get_submodule("auxiliary").parameters()][:2]
    set_auxiliary_blocks(network, 2)
    left = list(network.features.get_submodule("auxiliary").parameters())
    assert len(left) == 2
    assert all(map(torch.equal, first, left))


def test_a_network_of_ones_own_needs_one_method() -> None:
    network = Own()
    set_auxiliary_blocks(network, 1)
    assert [name for name, _ in network.features.named_children()] == ["0", "1", "auxiliary", "2"]
    images = torch.randn(2, 3, 5, 5)
    a, b, block, c = network.features.children()
    assert torch.equal(network(images), c(block(b(a(images)))).mean((2, 3)))
    assert auxiliary_blocks(network) == 1


def test_blocks_are_made_where_the_network_is() -> None:
    network = Own().double().eval()
    set_auxiliary_blocks(network, 1)
    block = network.features.get_submodule("auxiliary.0")
    assert next(block.parameters()).dtype == torch.float64
    assert not block.training


def test_the_plain_weights_are_those_of_a_network_that_never_had_blocks() -> None:
    torch.manual_seed(3)
    plain = CifarResNet(10, depth=8).state_dict()
    torch.manual_seed(3)
    network = CifarResNet(10, depth=8)
    set_auxiliary_blocks(network, 2)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in plain.items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(1, 1), "Linear has no place for auxiliary blocks: write its method `auxiliary_place(self)"),
        (TorchvisionNetwork(2, "squeezenet1_1"), "no place for auxiliary blocks in squeezenet1_1"),
    ],
)
def test_a_network_without_a_place_names_the_method_to_write(network: nn.Module, message: str) -> None:
    assert auxiliary_blocks(network) == 0
    set_auxiliary_blocks(network, 0)
    with pytest.raises(UserError) as raised:
        set_auxiliary_blocks(network, 1)
    assert message in str(raised.value)


def test_a_method_that_returns_something_else_is_named() -> None:
    network = Own()
    network.auxiliary_place = lambda: network.features  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(UserError, match="auxiliary_place of Own returns a Sequential"):
        set_auxiliary_blocks(network, 1)
