from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import models

from dasc.errors import UserError
from dasc.networks import TorchvisionNetwork

NAMES = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18"]
BY_NAME = pytest.mark.parametrize("name", NAMES)

Pretend = Callable[[dict[str, Tensor]], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Makes torchvision's pretrained weights of every network the given ones."""

    def patch(state: dict[str, Tensor]) -> None:
        def get_state_dict(self: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            return {key: value.clone() for key, value in state.items()}

        monkeypatch.setattr(models.WeightsEnum, "get_state_dict", get_state_dict)

    return patch


def head_of(model: torch.nn.Module) -> list[str]:
    last = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)][-1]
    return [f"{last}.weight", f"{last}.bias"]


@BY_NAME
def test_it_has_torchvisions_keys_under_model_and_torchvisions_outputs(name: str) -> None:
    theirs = models.get_model(name, weights=None, num_classes=7).eval()
    ours = TorchvisionNetwork(7, name).eval()
    assert list(ours.state_dict()) == [f"model.{key}" for key in theirs.state_dict()]
    ours.load_state_dict({f"model.{key}": value for key, value in theirs.state_dict().items()}, strict=True)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = ours(images)
        assert torch.equal(logits, theirs(images))
    assert logits.shape == (2, 7)
    assert float(logits.std()) > 0


@BY_NAME
@pytest.mark.parametrize("classes", [1000, 7])
def test_pretrained_weights_are_all_kept_but_a_last_layer_with_other_classes(
    name: str, classes: int, pretend: Pretend
) -> None:
    model = models.get_model(name, weights=None, num_classes=1000)
    state: dict[str, Tensor] = {
        key: torch.full_like(value, k % 97 + 1) for k, (key, value) in enumerate(model.state_dict().items())
    }
    pretend(state)
    got = TorchvisionNetwork(classes, name, weights="DEFAULT").model.state_dict()
    different = [key for key in state if got[key].shape != state[key].shape or not torch.equal(got[key], state[key])]
    assert different == ([] if classes == 1000 else head_of(model))
    assert got[head_of(model)[0]].shape[0] == classes


def test_the_named_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get_state_dict(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(self)
        return models.mobilenet_v2(num_classes=1000).state_dict()

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", get_state_dict)
    TorchvisionNetwork(5, "mobilenet_v2")
    assert asked == []
    for weights in ("IMAGENET1K_V1", "DEFAULT"):
        network = TorchvisionNetwork(5, "mobilenet_v2", weights)
        assert network.weights == weights
    assert asked == [models.MobileNet_V2_Weights.IMAGENET1K_V1, models.MobileNet_V2_Weights.IMAGENET1K_V2]


def test_pretrained_weights_that_lack_a_tensor_are_not_taken(pretend: Pretend) -> None:
    state = models.get_model("squeezenet1_1", weights=None).state_dict()
    del state["features.0.weight"]
    pretend(state)
    with pytest.raises(ValueError, match=r"lack \['features.0.weight'\]"):
        TorchvisionNetwork(1000, "squeezenet1_1", weights="DEFAULT")


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("mobilenetv2", None, "unknown torchvision network 'mobilenetv2': did you mean mobilenet_v2 or "),
        ("resnet-18", None, "unknown torchvision network 'resnet-18': did you mean resnet18 or "),
        ("???", None, "unknown torchvision network '???': known are alexnet, convnext_base, "),
        ("googlenet", None, "unknown torchvision network 'googlenet': "),
        ("inception_v3", None, "unknown torchvision network 'inception_v3': "),
        ("fcn_resnet50", None, "unknown torchvision network 'fcn_resnet50': did you mean "),
        (
            "mobilenet_v2",
            "IMAGENET1K_V3",
            "unknown weights of mobilenet_v2 'IMAGENET1K_V3': did you mean IMAGENET1K_V2 or IMAGENET1K_V1?",
        ),
        ("resnet18", "best", "unknown weights of resnet18 'best': known are DEFAULT, IMAGENET1K_V1"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, weights: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        TorchvisionNetwork(10, name, weights)
    assert str(error.value).startswith(sentence)
