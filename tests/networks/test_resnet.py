from typing import Literal

import pytest
import torch
from torch import nn

from dasc.errors import UserError
from dasc.networks import CifarResNet, count
from dasc.networks.resnet import BasicBlock

Shortcut = Literal["A", "B"]


def parameters_by_hand(depth: int, classes: int, shortcut: Shortcut) -> int:
    n = (depth - 2) // 6
    convolutions = 9 * 3 * 16 + 2 * n * 9 * 16**2
    convolutions += 9 * 16 * 32 + (2 * n - 1) * 9 * 32**2
    convolutions += 9 * 32 * 64 + (2 * n - 1) * 9 * 64**2
    normalisations = 2 * (16 + 2 * n * (16 + 32 + 64))
    projections = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64) if shortcut == "B" else 0
    return convolutions + normalisations + projections + 64 * classes + classes


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("depth", [8, 20, 32, 44, 56, 110])
def test_the_parameters_are_as_many_as_the_layer_shapes_give(depth: int, shortcut: Shortcut, classes: int) -> None:
    network = CifarResNet(classes, depth, shortcut)
    assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(depth, classes, shortcut)


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_the_parameters_are_those_of_table_6_of_he_et_al(depth: int, millions: str) -> None:
    parameters = sum(p.numel() for p in CifarResNet(10, depth).parameters()) / 1e6
    assert f"{parameters:.{len(millions) - 2}f}" == millions


def test_resnet20_has_269722_parameters() -> None:
    assert sum(p.numel() for p in CifarResNet(10).parameters()) == 269_722


@pytest.mark.parametrize(("shortcut", "projections"), [("A", 0), ("B", 256 * 16 * 32 + 64 * 32 * 64)])
def test_resnet20_has_the_multiply_accumulates_of_its_layers(shortcut: Shortcut, projections: int) -> None:
    at_32 = 32 * 32 * (9 * 3 * 16 + 6 * 9 * 16 * 16)
    at_16 = 16 * 16 * (9 * 16 * 32 + 5 * 9 * 32 * 32)
    at_8 = 8 * 8 * (9 * 32 * 64 + 5 * 9 * 64 * 64)
    macs = count(CifarResNet(10, 20, shortcut), (32, 32)).macs
    assert macs == at_32 + at_16 + at_8 + 64 * 10 + projections
    assert shortcut == "B" or round(macs / 1e6, 2) == 40.55


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("depth", [8, 20, 56])
def test_the_depth_counts_the_weighted_layers_without_projections(depth: int, shortcut: Shortcut) -> None:
    layers = [
        module
        for name, module in CifarResNet(10, depth, shortcut).named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [-4, 0, 2, 7, 18, 19, 21, 48])
def test_a_depth_that_is_not_6n_plus_2_is_refused_by_its_number(depth: int) -> None:
    with pytest.raises(UserError, match=rf"^depth {depth} is not 6n \+ 2: CifarResNet has depths such as 20, 32"):
        CifarResNet(10, depth)


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_each_group_has_its_channels_and_halves_the_size_but_the_first(size: int, shortcut: Shortcut) -> None:
    network = CifarResNet(7, 8, shortcut).eval()
    shapes = []
    for group in (network.layer1, network.layer2, network.layer3):
        group.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape)))
    logits = network(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)))
    half, quarter = -(-size // 2), -(-size // 4)
    assert shapes == [(2, 16, size, size), (2, 32, half, half), (2, 64, quarter, quarter)]
    assert tuple(logits.shape) == (2, 7)


@pytest.mark.parametrize("size", [7, 8])
def test_shortcut_a_subsamples_and_pads_with_zero_channels_and_has_no_parameters(size: int) -> None:
    shortcut = BasicBlock(16, 32, 2, "A").shortcut
    x = torch.randn(2, 16, size, size, generator=torch.Generator().manual_seed(1))
    got = shortcut(x)
    assert list(shortcut.parameters()) == []
    assert got.shape == (2, 32, (size + 1) // 2, (size + 1) // 2)
    assert torch.equal(got[:, 8:24], x[:, :, ::2, ::2])
    assert torch.count_nonzero(got[:, :8]) + torch.count_nonzero(got[:, 24:]) == 0


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_only_where_the_shape_changes_is_the_shortcut_more_than_the_identity(shortcut: Shortcut) -> None:
    network = CifarResNet(10, 20, shortcut)
    changing = [
        name
        for name, module in network.named_modules()
        if isinstance(module, BasicBlock) and not isinstance(module.shortcut, nn.Identity)
    ]
    assert changing == ["layer2.0", "layer3.0"]


def test_a_block_is_two_normalised_convolutions_with_the_input_added_before_the_last_relu() -> None:
    block = BasicBlock(4, 4, 1, "A").eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for bn in (block.bn1, block.bn2):
            bn.running_mean = torch.randn(4, generator=generator)
            bn.running_var = torch.rand(4, generator=generator) + 0.5
        x = torch.randn(3, 4, 5, 5, generator=generator)
        h = block.bn1(nn.functional.conv2d(x, block.conv1.weight, padding=1)).clamp(min=0)
        expected = (block.bn2(nn.functional.conv2d(h, block.conv2.weight, padding=1)) + x).clamp(min=0)
        assert torch.allclose(block(x), expected, atol=1e-6)


def test_convolutions_start_with_the_spread_he_et_al_give() -> None:
    torch.manual_seed(0)
    network = CifarResNet(10, 20)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            expected = (2 / (9 * module.out_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.15), name
