import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from dasc.errors import UserError
from dasc.networks import CifarResNet, TorchvisionNetwork, build_network, describe_network
from tests.support.pretrained import cached, serve


class Forgetful(nn.Module):
    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(width, num_classes)


@pytest.mark.parametrize(
    ("network", "description"),
    [
        (
            CifarResNet(10),
            {
                "class_path": "dasc.networks.resnet.CifarResNet",
                "init_args": {"num_classes": 10, "depth": 20, "shortcut": "A"},
            },
        ),
        (
            CifarResNet(7, depth=8, shortcut="B"),
            {
                "class_path": "dasc.networks.resnet.CifarResNet",
                "init_args": {"num_classes": 7, "depth": 8, "shortcut": "B"},
            },
        ),
        (
            TorchvisionNetwork(5, "squeezenet1_1"),
            {
                "class_path": "dasc.networks.torchvision.TorchvisionNetwork",
                "init_args": {"num_classes": 5, "name": "squeezenet1_1", "weights": None},
            },
        ),
    ],
    ids=["default", "all given", "torchvision"],
)
def test_a_network_is_described_as_plain_data_and_built_again(network: nn.Module, description: dict[str, Any]) -> None:
    assert describe_network(network) == description
    rebuilt = build_network(json.loads(json.dumps(description)))
    assert type(rebuilt) is type(network)
    assert describe_network(rebuilt) == description
    shapes = [
        [(key, value.shape, value.dtype) for key, value in one.state_dict().items()] for one in (network, rebuilt)
    ]
    assert shapes[0] == shapes[1]
    rebuilt.load_state_dict(network.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(images), network.eval()(images))


def test_a_pretrained_network_is_built_again_without_its_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = models.get_model("squeezenet1_1", weights=None).state_dict()
    served = serve(monkeypatch, models.SqueezeNet1_1_Weights.DEFAULT, state, tmp_path)
    description = describe_network(TorchvisionNetwork(5, "squeezenet1_1", weights="DEFAULT"))
    assert description["init_args"]["weights"] == "DEFAULT"
    for path in (served, *cached(tmp_path)):
        path.unlink()
    rebuilt = build_network(description)
    assert describe_network(rebuilt)["init_args"]["weights"] is None
    assert description["init_args"]["weights"] == "DEFAULT"


def test_a_network_that_forgets_an_argument_is_told_the_line_to_add() -> None:
    with pytest.raises(UserError) as error:
        describe_network(Forgetful(3))
    assert str(error.value) == (
        "Forgetful does not keep its argument 'width': add `self.width = width` to its constructor, "
        "so that a checkpoint can rebuild the network"
    )


@pytest.mark.parametrize(
    ("class_path", "sentence"),
    [
        ("no_such_package.Net", "the network no_such_package.Net cannot be imported (No module named"),
        ("dasc.networks.NoSuchNet", "the network dasc.networks.NoSuchNet cannot be imported (module 'dasc.networks'"),
        ("CifarResNet", "the network CifarResNet cannot be imported ("),
        ("collections.OrderedDict", "collections.OrderedDict is no torch.nn.Module: "),
        ("math.floor", "math.floor is no torch.nn.Module: "),
    ],
)
def test_a_class_that_is_no_network_or_not_there_is_refused(class_path: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        build_network({"class_path": class_path, "init_args": {}})
    assert str(error.value).startswith(sentence)
