"""Groups of channels: a network without some of its channels is the whole one in which they are zero."""

import copy
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.networks import (
    ChannelGroup,
    CifarMobileNetV2,
    CifarResNet,
    CifarShuffleNetV2,
    Part,
    TorchvisionNetwork,
    channel_groups,
    count,
    kept_positions,
    place_groups,
    set_auxiliary_blocks,
)
from dasc.pruning.channels import remove_channels
from tests.support.channels import Flattened, Joined, OneLayer, remove, shapes, with_values, zero_removed

SMALL: dict[str, Callable[[], nn.Module]] = {
    "resnet A": lambda: CifarResNet(10, depth=14),
    "resnet B": lambda: CifarResNet(10, depth=14, shortcut="B"),
    "shufflenet": lambda: CifarShuffleNetV2(10, width="x0_5"),
    "torchvision shufflenet": lambda: TorchvisionNetwork(10, "shufflenet_v2_x0_5"),
    "flattened": Flattened,
    "joined": Joined,
}
LARGE: dict[str, Callable[[], nn.Module]] = {
    "mobilenet": partial(CifarMobileNetV2, 10),
    **{name: partial(TorchvisionNetwork, 10, name) for name in ("resnet18", "mobilenet_v2", "resnext50_32x4d")},
}
CASES = [*SMALL.items(), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in LARGE.items())]
NAMES = [*SMALL, *LARGE]


@pytest.mark.parametrize(("name", "make"), CASES, ids=NAMES)
def test_a_network_without_channels_is_the_one_in_which_they_are_zero(name: str, make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    whole = with_values(make().double().eval())
    size = 32 if name in LARGE else 16
    groups = place_groups(whole, channel_groups(whole, (size, size)))
    generator = torch.Generator().manual_seed(1)
    # not the lowest score, which a wrong order of channels might survive
    kept = [sorted(torch.randperm(g.size, generator=generator)[: g.size // 2].tolist()) for g in groups]
    positions = kept_positions(whole, groups, kept)
    small = copy.deepcopy(whole)
    remove_channels(small, positions, 0.5)
    zero_removed(whole, positions)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        expected = whole(images)
        torch.testing.assert_close(small(images), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    assert sum(p.numel() for p in small.parameters()) < 0.8 * sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_half_of_the_channels_of_resnet20_leave_a_quarter_of_its_weights(shortcut: str) -> None:
    network = CifarResNet(10, 20, "A" if shortcut == "A" else "B")
    remove(network, 0.5)
    widths = [(3, 8), *[(8, 8)] * 6, (8, 16), *[(16, 16)] * 5, (16, 32), *[(32, 32)] * 5]
    pixels = [32 * 32] * 7 + [16 * 16] * 6 + [8 * 8] * 6
    norms = 2 * (7 * 8 + 6 * 16 + 6 * 32)
    extra = (8 * 16 + 16 * 32 + 2 * (16 + 32), 8 * 16 * 16 * 16 + 16 * 32 * 8 * 8) if shortcut == "B" else (0, 0)
    sizes = count(network, (32, 32))
    assert sizes.parameters == sum(9 * a * b for a, b in widths) + norms + 32 * 10 + 10 + extra[0]
    assert sizes.macs == sum(9 * a * b * n for (a, b), n in zip(widths, pixels, strict=True)) + 32 * 10 + extra[1]
    assert sizes.parameters == {"A": 68_050, "B": 68_786}[shortcut]


RIVALS: dict[str, Callable[[], nn.Module]] = {
    "resnet B": lambda: CifarResNet(10, 14, "B"),
    "mobilenet": partial(CifarMobileNetV2, 10),
    "resnet18": lambda: TorchvisionNetwork(10, "resnet18"),
    "mobilenet_v2": lambda: TorchvisionNetwork(10, "mobilenet_v2"),
}
SLOW = [pytest.param(*pair, marks=pytest.mark.slow if pair[0] != "resnet B" else ()) for pair in RIVALS.items()]


@pytest.mark.parametrize(("name", "make"), SLOW, ids=list(RIVALS))
def test_two_steps_remove_the_channels_that_torch_pruning_removes(name: str, make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = make()
    theirs = copy.deepcopy(network)
    head = [layer for layer in theirs.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = torch_pruning.pruner.BasePruner(
        theirs,
        torch.zeros(1, 3, 32, 32),
        torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=0.5,
        iterative_steps=2,
        round_to=8,
        ignored_layers=head,
    )
    for share in (0.25, 0.5):
        remove(network, share, 32, round_to=8)
        pruner.step()
        assert shapes(network) == shapes(theirs)
    if "mobilenet" in name:  # Torch-Pruning leaves the weights of depthwise convolutions out of its scores
        return
    kept = {name: value.double().abs().sum() for name, value in network.state_dict().items() if "weight" in name}
    chosen = {name: value.double().abs().sum() for name, value in theirs.state_dict().items() if "weight" in name}
    torch.testing.assert_close(kept, chosen)


def test_the_groups_along_shortcut_a_are_not_those_of_torch_pruning() -> None:
    network = CifarResNet(10, 20)
    theirs = copy.deepcopy(network)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=1)
    torch_pruning.pruner.BasePruner(
        theirs, torch.zeros(1, 3, 32, 32), importance, pruning_ratio=0.5, ignored_layers=[theirs.fc]
    ).step()
    assert theirs.fc.in_features == 56  # of 64: the channels that are padded stay
    groups = place_groups(network, channel_groups(network, (32, 32)))[:-2]  # without those that are padded
    remove_channels(network, kept_positions(network, groups, [range(g.size // 2) for g in groups]), 0.5)
    assert shapes(network) == shapes(theirs)
    assert count(network, (32, 32)).parameters == 111_106


def test_auxiliary_blocks_lose_the_channels_of_the_blocks_before_them() -> None:
    network = CifarResNet(10, 8)
    set_auxiliary_blocks(network, 2)
    remove(network, 0.5)
    assert network.get_submodule("layer3.auxiliary.1.conv2").weight.shape == (32, 32, 3, 3)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


class Declared(nn.Sequential):
    """A network of the user's own that declares its groups."""

    def __init__(self, parts: list[tuple[str, str]]) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 10))
        self.parts = parts

    def channel_groups(self) -> object:
        return [ChannelGroup(tuple(Part(*part) for part in self.parts))] if self.parts else [1]


def test_a_network_declares_its_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    network = with_values(Declared([("0", "out"), ("1", "out"), ("3", "in")]).eval())
    whole = copy.deepcopy(network)
    groups = place_groups(network, channel_groups(network, (8, 8)))
    kept = kept_positions(network, groups, [[0, 2, 5]])
    assert kept["3"]["in"] == [*range(36), *range(72, 108), *range(180, 216)]
    remove_channels(network, kept, 5 / 8)
    zero_removed(whole, kept)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(network(images), whole(images))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            [("0", "out"), ("7", "in")],
            "must name convolutions, linear layers or BatchNorm and their axes out or in, ",
        ),
        ([("0", "out"), ("1", "in")], "got 1 and in: correct the part"),
        ([("0", "in"), ("1", "out")], "must have positions below 8 of 3 channels for the axis out of 1, got others"),
        ([], "must return a list of dasc.networks.ChannelGroup or None, got other objects"),
    ],
)
def test_wrong_groups_are_refused(parts: list[tuple[str, str]], said: str) -> None:
    network = Declared(parts)
    with pytest.raises(UserError, match="channel_groups of Declared must") as raised:
        place_groups(network, channel_groups(network, (8, 8)))
    assert said in str(raised.value)


class Split(nn.Module):
    """A network on which Torch-Pruning fails."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        if not self.conv.weight.requires_grad or images.shape[0] == 1:
            raise ValueError("one image only")
        logits: Tensor = self.fc(self.conv(images).mean((2, 3)))
        return logits


def test_networks_that_cannot_be_pruned_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"channels must be 0 for OneLayer, .*the last of them, 1, makes the logits"):
        channel_groups(OneLayer(10), (8, 8))
    with pytest.raises(UserError, match=r"0 for Split, on which Torch-Pruning fails \(ValueError: one image only\): "):
        channel_groups(Split(), (8, 8))
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(UserError, match=r"needs the package torch-pruning for Joined, .*run `pip install 'dasc\[chan"):
        channel_groups(Joined(), (8, 8))
    assert channel_groups(CifarResNet(10, 8), (8, 8))
    assert channel_groups(CifarShuffleNetV2(10), (32, 32))


def test_finding_groups_changes_nothing() -> None:
    network = Joined().train().requires_grad_(False)
    before, seed = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        channel_groups(network, (8, 8))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), seed)
    assert network.training
    assert not any(p.requires_grad for p in network.parameters())
