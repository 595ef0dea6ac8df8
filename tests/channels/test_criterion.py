"""Which channels are kept: their number never depends on the steps before, and the scores are sums of weights."""

import copy

import pytest
import torch
from torch import nn

from dasc.errors import UserError
from dasc.networks import CifarResNet, channel_groups, place_groups
from dasc.pruning import Masks, Scope
from dasc.pruning.channels import ChannelL1, remove_channels, removed_share
from tests.support.channels import Joined, remove, shapes


def network() -> CifarResNet:
    torch.manual_seed(0)
    return CifarResNet(10, depth=8)


@pytest.mark.parametrize("round_to", [1, 4])
def test_steps_do_not_compound(round_to: int) -> None:
    once, twice = network(), network()
    remove(once, 0.5, round_to=round_to)
    for share in (0.2, 0.35, 0.5):
        remove(twice, share, round_to=round_to)
    assert shapes(once) == shapes(twice)
    assert removed_share(twice) == 0.5
    assert not remove(twice, 0.5, round_to=round_to)


def test_a_global_share_holds_over_all_channels_and_does_not_compound() -> None:
    counts = []
    for shares in ((0.5,), (0.2, 0.5)):
        pruned = network()
        for share in shares:
            remove(pruned, share, scope="global")
        counts.append([g.size for g in place_groups(pruned, pruned.channel_groups())])
    # three blocks, and the channels along the shortcuts: 16 from the stem, 16 and 32 that are padded
    assert sum(counts[0]) == sum(counts[1]) == (16 + 32 + 64 + 16 + 16 + 32) // 2
    assert len(set(counts[0])) > 1
    assert min(counts[0]) >= 1
    assert remove(pruned, 0.5, scope="global") == {}


@pytest.mark.parametrize(
    ("channels", "share", "round_to", "kept"),
    [
        (16, 0.2, 1, 13),  # 12.8
        (16, 0.25, 8, 8),  # 12 is as near to 8 as to 16: the lower
        (16, 0.2, 8, 16),
        (16, 0.9, 8, 8),  # at least one multiple
        (16, 0.95, 1, 1),
        (6, 0.5, 8, 6),  # fewer than a multiple
        (15, 0.5, 1, 7),
        (10, 0.7, 1, 3),  # not 2 or 4 by a rounding error
    ],
)
def test_the_channels_of_a_layer_are_rounded(channels: int, share: float, round_to: int, kept: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, channels, 1), nn.Flatten(), nn.Linear(4 * channels, 10))
    remove(net, share, 2, round_to=round_to)
    assert net.get_parameter("0.weight").shape[0] == kept


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_at_least_one_multiple_of_channels_stays_in_each_layer(scope: Scope) -> None:
    pruned = network()
    with torch.no_grad():
        pruned.get_parameter("layer1.0.conv1.weight").mul_(1e-6)
        pruned.get_parameter("layer1.0.bn1.weight").mul_(1e-6)
        pruned.get_parameter("layer1.0.conv2.weight")[:, 1:].mul_(1e-6)
    remove(pruned, 0.6, scope=scope, round_to=4)
    sizes = [g.size for g in place_groups(pruned, pruned.channel_groups())]
    assert min(sizes) >= 4
    assert not [size for size in sizes if size % 4]


def test_scores_are_the_sums_of_absolute_weights() -> None:
    net = Joined()
    groups = {next(iter(g.positions))[0]: g for g in place_groups(net, channel_groups(net, (8, 8)))}
    with torch.no_grad():
        for number, tensor in enumerate(net.parameters(), start=1):
            tensor.fill_(-0.01 * number)
        net.one.weight[3] = 1.0
        net.norm.weight[6:] = 2.0
    one, two = (ChannelL1().scores(net, groups[name]) for name in ("one", "two"))
    values = {name: float(p.detach().abs().flatten()[0]) for name, p in net.named_parameters()}
    by_hand = 27 * 0.01 + 36 * values["two.weight"] + values["norm.weight"] + 10 * values["fc.weight"]
    assert one.tolist() == pytest.approx([(by_hand + (27 * 0.99 if k == 3 else 0)) / 4 for k in range(6)])
    by_hand = 54 * values["two.weight"] + 2 + 10 * values["fc.weight"]
    assert two.tolist() == pytest.approx([by_hand / 3] * 4)


def test_weights_under_masks_count_as_zero() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Flatten(), nn.Linear(16, 10))
    masks = Masks(net)
    with torch.no_grad():
        net.get_parameter("0.weight").fill_(1.0)
        net.get_parameter("2.weight").fill_(0.1)
        masks.by_name()["0.weight"][2, 1:] = False
        net.get_parameter("0.weight").mul_(masks.by_name()["0.weight"])
    assert remove(net, 0.25, 2)["0"]["out"] == [0, 1, 3]


def test_equal_channels_are_kept_in_their_order() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(), nn.Linear(24, 10))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1.0)
    assert remove(net, 0.5, 2)["0"]["out"] == [0, 1, 2]


def test_shares_that_leave_no_channel_are_refused() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UserError) as raised:
        remove(net, 0.999)
    assert str(raised.value) == (
        "channels must be at most 0.968 for this network, got 0.999: layer1.0.conv1 has 16 channels, and none would "
        "be left"
    )
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    remove(net, 0.968)
    assert net.conv1.out_channels == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scope": "all"}, "channel_criterion.scope must be layer or global, got all"),
        ({"round_to": 0}, "channel_criterion.round_to must be an integer >= 1, got 0"),
        ({"round_to": 1.5}, "channel_criterion.round_to must be an integer >= 1, got 1.5"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ChannelL1(**settings)  # type: ignore[arg-type]


def test_a_criterion_may_be_a_users_own() -> None:
    class Last(ChannelL1):
        def scores(self, network: nn.Module, group: object) -> torch.Tensor:
            return torch.arange(group.size, dtype=torch.float64)  # type: ignore[attr-defined]

    net = network()
    groups = place_groups(net, net.channel_groups())
    assert Last().keep(net, groups, 0.5)[0] == list(range(8, 16))
    assert remove_channels(net, {}, 0.5) is None
