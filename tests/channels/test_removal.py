"""Removal in place: tensors, masks and optimizer state keep the same positions, and plain data rebuild the sizes."""

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Optimizer

from dasc.errors import UserError
from dasc.networks import (
    CifarResNet,
    CifarShuffleNetV2,
    TorchvisionNetwork,
    channel_groups,
    kept_positions,
    place_groups,
    set_auxiliary_blocks,
)
from dasc.pruning import Masks
from dasc.pruning.channels import (
    ChannelL1,
    observe_sizes,
    remove_channels,
    removed_share,
    restore_sizes,
    select_channels,
)
from dasc.pruning.channels.sizes import original_channels
from tests.support.channels import Joined, remove, shapes

MAKERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda p: SGD(p, lr=0.01, momentum=0.9),
    "AdamW": lambda p: AdamW(p, lr=0.01, amsgrad=True),
    "Adafactor": lambda p: Adafactor(p, lr=0.01),
}


def train(network: nn.Module, optimizer: Optimizer, steps: int, size: int = 8) -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(4, 3, size, size, generator=generator)).square().mean().backward()
        optimizer.step()


def half(network: nn.Module) -> dict[str, dict[str, list[int]]]:
    """Keep every second channel."""
    groups = place_groups(network, channel_groups(network, (8, 8)))
    kept = kept_positions(network, groups, [range(0, g.size, 2) for g in groups])
    return {name: dict(axes) for name, axes in kept.items()}


def cut(tensor: Tensor, axes: dict[str, list[int]]) -> Tensor:
    tensor = tensor[axes["out"]] if "out" in axes else tensor
    return tensor[:, axes["in"]] if "in" in axes and tensor.dim() > 1 else tensor


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_all_that_belongs_to_a_weight_keeps_the_same_positions(make: Callable[[Any], Optimizer]) -> None:
    torch.manual_seed(0)
    network = Joined()
    masks = Masks(network)
    masks.set({name: torch.rand(mask.shape) < 0.7 for name, mask in masks.by_name().items()})
    optimizer = make([{"params": list(network.parameters())[:2]}, {"params": list(network.parameters())[2:]}])
    train(network, optimizer, 2)
    before = copy.deepcopy(network)
    states = {name: copy.deepcopy(optimizer.state[p]) for name, p in network.named_parameters()}
    mask_values = {name: mask.clone() for name, mask in masks.by_name().items()}
    kept = half(network)
    remove_channels(network, kept, 0.5, masks, [optimizer])
    whole = dict(before.named_parameters()) | dict(before.named_buffers())
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        axes = kept.get(name.rpartition(".")[0], {}) if tensor.dim() else {}
        bias = {key: value for key, value in axes.items() if key == "out" or tensor.dim() > 1}
        assert torch.equal(tensor, cut(whole[name], bias)), name
    for name, mask in masks.by_name().items():
        assert torch.equal(mask, cut(mask_values[name], kept[name.rpartition(".")[0]]))
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 6]
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(one is other for one, other in zip(held, network.parameters(), strict=True))
    assert set(optimizer.state) == set(network.parameters())
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            old = states[name][key]
            axes = kept[name.rpartition(".")[0]] if isinstance(value, Tensor) and value.dim() == parameter.dim() else {}
            axes = {a: p for a, p in axes.items() if parameter.dim() > 1 or a == "out"}
            axes = {a: p for a, p in axes.items() if old.shape[0 if a == "out" else 1] != 1}
            assert torch.equal(torch.as_tensor(value), cut(torch.as_tensor(old), axes)), (name, key)
    train(network, optimizer, 1)


def test_momentum_goes_on_as_in_the_whole_network_whose_removed_channels_stay_zero() -> None:
    torch.manual_seed(0)
    small = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.Flatten(), nn.Linear(6 * 36, 10)).double()
    groups = place_groups(small, channel_groups(small.float(), (8, 8)))
    small.double()
    optimizer = SGD(small.parameters(), lr=0.1, momentum=0.9)
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)

    def step(network: nn.Module, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()

    step(small, optimizer)
    whole = copy.deepcopy(small)
    other = SGD(whole.parameters(), lr=0.1, momentum=0.9)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    kept = kept_positions(small, groups, [[0, 1, 4]])
    remove_channels(small, kept, 0.5, optimizers=[optimizer])
    gone = [2, 3, 5]
    for _ in range(3):
        with torch.no_grad():
            whole.get_parameter("0.weight")[gone] = 0
        step(small, optimizer)
        step(whole, other)
    expected = whole.get_parameter("0.weight")[[0, 1, 4]]
    torch.testing.assert_close(small.get_parameter("0.weight"), expected, rtol=1e-12, atol=1e-14)


def test_frozen_parameters_stay_frozen_and_buffers_stay_buffers() -> None:
    network = CifarResNet(10, 8).requires_grad_(False)
    names = [list(dict(network.named_parameters())), list(dict(network.named_buffers()))]
    remove(network, 0.5)
    assert not any(p.requires_grad for p in network.parameters())
    assert names == [list(dict(network.named_parameters())), list(dict(network.named_buffers()))]
    assert network.bn1.num_features == 8


REBUILT: dict[str, Callable[[], nn.Module]] = {
    "resnet A": lambda: CifarResNet(10, 8),
    "resnet B": lambda: CifarResNet(10, 8, "B"),
    "shufflenet": lambda: CifarShuffleNetV2(10, "x0_5"),
    "mobilenet_v2": lambda: TorchvisionNetwork(10, "mobilenet_v2"),
}


@pytest.mark.parametrize("make", REBUILT.values(), ids=list(REBUILT))
def test_plain_data_rebuild_the_network(make: Callable[[], nn.Module]) -> None:
    network, other = make(), make()
    assert observe_sizes(network) is None
    remove(network, 0.25, 32)
    remove(network, 0.5, 32, round_to=4)
    file = io.BytesIO()
    torch.save(observe_sizes(network), file)
    file.seek(0)
    recorded = torch.load(file, weights_only=True)
    restore_sizes(other, recorded)
    assert observe_sizes(other) == observe_sizes(network) == recorded
    assert removed_share(other) == 0.5
    other.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(other.eval()(images), network.eval()(images))
    remove(other, 0.6, 32)  # the original sizes are known
    direct = make()
    remove(direct, 0.6, 32)
    assert shapes(other) == shapes(direct)


def test_sizes_are_restored_from_any_others() -> None:
    network, dense = CifarResNet(10, 8), CifarResNet(10, 8)
    remove(network, 0.25)
    quarter = observe_sizes(network)
    quarter_shapes = shapes(network)
    remove(network, 0.5)
    restore_sizes(network, quarter)
    assert shapes(network) == quarter_shapes
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    restore_sizes(network, None)
    assert shapes(network) == shapes(dense)
    assert observe_sizes(network) is None
    network.load_state_dict(dense.state_dict())
    assert torch.equal(network.eval()(torch.ones(1, 3, 8, 8)), dense.eval()(torch.ones(1, 3, 8, 8)))


def test_dropped_blocks_are_not_in_the_record() -> None:
    network = CifarResNet(10, 8)
    set_auxiliary_blocks(network, 1)
    remove(network, 0.5)
    set_auxiliary_blocks(network, 0)
    recorded = observe_sizes(network)
    other = CifarResNet(10, 8)
    restore_sizes(other, recorded)
    other.load_state_dict(network.state_dict())
    assert not any("auxiliary" in name for name in (recorded or {})["sizes"])


DAMAGED: list[tuple[Any, str]] = [
    ({"conv1": {"out": 17}}, "of conv1 (out) must be from 1 to 16, got 17"),
    ({"conv1": {"out": 10**30}}, "of conv1 (out) must be from 1 to 16, got 1000000000"),
    ({"conv1": {"out": 8}, "bn1": {"out": 0}}, "of bn1 (out) must be from 1 to 16, got 0"),
    ({"layer2.0.shortcut": {"before": -1}}, "of layer2.0.shortcut (before) must be from 0 to 8, got -1"),
    ({"conv1": {"out": "8"}}, "of conv1 (out) must be from 1 to 16, got '8'"),
    ({"conv1": {"out": True}}, "of conv1 (out) must be from 1 to 16, got True"),
    ({"conv1": {"out": 8.0}}, "of conv1 (out) must be from 1 to 16, got 8.0"),
    ({"conv9": {"out": 2}}, "must be of layers of CifarResNet, got {'out': 2} for 'conv9'"),
    ({"conv1": {"up": 2}}, "must be of layers of CifarResNet, got {'up': 2} for 'conv1'"),
    ({"layer1": {"out": 2}}, "must be of layers of CifarResNet, got {'out': 2} for 'layer1'"),
    ({"conv1": 8}, "must be of layers of CifarResNet, got 8 for 'conv1'"),
    ({"conv1": {}}, "must be of layers of CifarResNet, got {} for 'conv1'"),
    ([1], "must be of layers of CifarResNet, got [1] for ''"),
]


@pytest.mark.parametrize(("sizes", "said"), DAMAGED)
def test_damaged_sizes_are_refused(sizes: Any, said: str) -> None:
    _refuses({"share": 0.5, "sizes": sizes}, said)


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (0.5, "must be a share and sizes, got 0.5"),
        ({}, "must be a share and sizes, got {}"),
        ({"share": 0.5}, "must be a share and sizes, got {'share': 0.5}"),
        ({"share": 0.5, "sizes": {}, "code": 1}, "must be a share and sizes, got"),
        ({"share": 1.0, "sizes": {}}, "must be a number in (0, 1), got 1.0"),
        ({"share": float("nan"), "sizes": {}}, "must be a number in (0, 1), got nan"),
        ({"share": None, "sizes": {}}, "must be a number in (0, 1), got None"),
    ],
)
def test_a_damaged_record_is_refused(recorded: Any, said: str) -> None:
    _refuses(recorded, said)


def _refuses(recorded: Any, said: str) -> None:
    network = CifarResNet(10, 8)
    before = shapes(network)
    with pytest.raises(UserError) as raised:
        restore_sizes(network, recorded)
    assert said in str(raised.value)
    assert str(raised.value).endswith(": the file is damaged or of another network, use another one")
    assert shapes(network) == before
    assert observe_sizes(network) is None


def test_sizes_in_json_rebuild_a_network_without_memory() -> None:
    network = CifarResNet(10, 8)
    remove(network, 0.95)  # one padded channel remains, on one of two sides
    recorded = observe_sizes(network)
    parsed = json.loads(json.dumps(recorded))
    assert parsed == recorded
    assert recorded is not None
    assert 0 in [size for axes in recorded["sizes"].values() for size in axes.values()]
    with torch.device("meta"):
        other = CifarResNet(10, 8)
        restore_sizes(other, parsed)
    assert shapes(other) == shapes(network)
    assert all(tensor.is_meta for tensor in other.state_dict().values())
    assert observe_sizes(other) == recorded


EXPORTED = [
    *("resnet A", "resnet B", "shufflenet"),
    pytest.param("mobilenet_v2", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", EXPORTED)
def test_a_smaller_network_trains_and_is_exported(name: str) -> None:
    torch.manual_seed(0)
    network = REBUILT[name]()
    remove(network, 0.5, 32)
    train(network, SGD(network.parameters(), lr=0.01), 1, size=32)
    network.eval()
    images = torch.randn(2, 3, 32, 32)
    program = torch.export.export(network, (images,))
    torch.testing.assert_close(program.module()(images), network(images))
    assert torch.equal(copy.deepcopy(network)(images), network(images))


@pytest.mark.parametrize("seed", range(6))
def test_channels_of_a_padded_shortcut_count_from_their_first_number(seed: int) -> None:
    torch.manual_seed(seed)
    network = CifarResNet(10, depth=8, shortcut="A")
    first = [original_channels(network, g) for g in place_groups(network, channel_groups(network, (8, 8)))]
    for share in (0.9, 0.93):  # at 0.9 a shortcut often has no channel left before, or after, those of its input
        remove_channels(network, select_channels(network, ChannelL1(), share, (8, 8)), share)
        groups = place_groups(network, channel_groups(network, (8, 8)))
        assert [original_channels(network, group) for group in groups] == first
        assert [group.size for group in groups] == [round(size * (1 - share)) for size in first]
