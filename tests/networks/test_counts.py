import torch
from torch import Tensor, nn

from dasc.networks import CifarResNet, Count, count, macs_per_weight, prunable_weights


class Small(nn.Module):
    """12 x 20 in: 6 x 10 after the strided convolution, the same after the grouped one, 4 x 8 after the last."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.body = nn.Sequential(nn.Conv2d(8, 16, 1, groups=4, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.body(self.bn(self.strided(x))).mean((2, 3)))
        return out


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.conv(x))
        return out


WEIGHTS = {"strided": 8 * 3 * 9, "body.0": 16 * 2, "body.2": 16 * 1 * 9, "fc": 5 * 16}
PLACES = {"strided": 6 * 10, "body.0": 6 * 10, "body.2": 4 * 8, "fc": 1}
PARAMETERS = sum(WEIGHTS.values()) + 8 + 2 * 8 + 16 + 5
MACS = sum(WEIGHTS[name] * PLACES[name] for name in WEIGHTS)


def test_the_prunable_weights_are_those_of_convolutions_and_linear_layers() -> None:
    network = Small()
    weights = prunable_weights(network)
    assert {name: weight.numel() for name, weight in weights.items()} == {f"{k}.weight": n for k, n in WEIGHTS.items()}
    assert all(weight is network.get_parameter(name) for name, weight in weights.items())


def test_each_weight_takes_part_in_as_many_macs_as_its_layer_has_outputs_a_channel() -> None:
    macs, uses = macs_per_weight(Small(), (12, 20))
    assert macs == MACS
    assert uses == {f"{name}.weight": places for name, places in PLACES.items()}


def test_a_dense_network_has_all_its_parameters_and_macs() -> None:
    assert count(Small(), (12, 20)) == Count(4, PARAMETERS, PARAMETERS, MACS, MACS)


def test_zero_weights_leave_the_parameters_and_their_macs() -> None:
    network = Small()
    zeros = {"strided": 7, "body.0": 3, "body.2": 144, "fc": 11}
    with torch.no_grad():
        for name, number in zeros.items():
            weight = network.get_parameter(f"{name}.weight").view(-1)
            weight.fill_(0.5)
            weight[:number] = 0.0
        weight[-1] = -0.0
    zeros["fc"] += 1
    assert count(network, (12, 20)) == Count(
        layers=4,
        parameters=PARAMETERS,
        nonzero_parameters=PARAMETERS - 7 - 3 - 144 - 12,
        macs=MACS,
        nonzero_macs=MACS - 7 * 60 - 3 * 60 - 144 * 32 - 12,
    )


def test_zeros_elsewhere_than_in_prunable_weights_are_parameters() -> None:
    network = Small()
    with torch.no_grad():
        for name in ("strided.bias", "bn.weight", "bn.bias", "body.2.bias", "fc.bias"):
            network.get_parameter(name).zero_()
    assert count(network, (12, 20)) == Count(4, PARAMETERS, PARAMETERS, MACS, MACS)


def test_a_layer_that_is_used_twice_counts_its_macs_twice() -> None:
    network = Twice()
    with torch.no_grad():
        network.conv.weight[0, 0] = 0.0
    assert count(network, (8, 4)) == Count(1, 81, 72, 2 * 81 * 32, 2 * 72 * 32)


def test_counting_changes_nothing_in_the_network() -> None:
    network = CifarResNet(10, depth=8)
    network.layer2.eval()
    modes = [module.training for module in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count(network, (32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_the_zeros_of_a_bare_layer_count_too() -> None:
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight[0] = 0
    counted = count(layer, (8, 8))
    assert (counted.macs, counted.nonzero_macs) == (36 * 4 * 27, 36 * 3 * 27)
