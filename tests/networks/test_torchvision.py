import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, hub
from torchvision import models

from dasc.errors import UserError
from dasc.networks import Pretrained, TorchvisionNetwork, deferred_weights, load_pretrained, set_auxiliary_blocks
from tests.support.pretrained import NOWHERE, cached, serve

NAMES = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18"]
BY_NAME = pytest.mark.parametrize("name", NAMES)
SQUEEZENET = models.SqueezeNet1_1_Weights.IMAGENET1K_V1


def numbered(name: str) -> dict[str, Tensor]:
    """Return a state_dict of the network with 1000 classes, each tensor filled with another number."""
    state = models.get_model(name, weights=None, num_classes=1000).state_dict()
    return {key: torch.full_like(value, k % 97 + 1) for k, (key, value) in enumerate(state.items())}


def message(*arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        TorchvisionNetwork(*arguments)
    return str(error.value)


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
    name: str, classes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = numbered(name)
    serve(monkeypatch, models.get_model_weights(name).DEFAULT, state, tmp_path)
    model = models.get_model(name, weights=None, num_classes=1000)
    got = TorchvisionNetwork(classes, name, weights="DEFAULT").model.state_dict()
    different = [key for key in state if got[key].shape != state[key].shape or not torch.equal(got[key], state[key])]
    assert different == ([] if classes == 1000 else head_of(model))
    assert got[head_of(model)[0]].shape[0] == classes


def test_weights_are_those_of_the_given_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = numbered("mobilenet_v2")
    first, second = (models.MobileNet_V2_Weights[name] for name in ("IMAGENET1K_V1", "IMAGENET1K_V2"))
    serve(monkeypatch, first, state, tmp_path)
    serve(monkeypatch, second, {key: value + 1 for key, value in state.items()}, tmp_path)
    loaded = {name: TorchvisionNetwork(5, "mobilenet_v2", name) for name in ("IMAGENET1K_V1", "DEFAULT")}
    stem = "features.0.0.weight"
    assert torch.equal(loaded["IMAGENET1K_V1"].model.get_parameter(stem), state[stem])
    assert torch.equal(loaded["DEFAULT"].model.get_parameter(stem), state[stem] + 1)
    assert [network.weights for network in loaded.values()] == list(loaded)


def save_pth(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def save_nested(state: dict[str, Tensor], path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": state}, path)


@pytest.mark.parametrize(
    ("file", "save"), [("a.pth", save_pth), ("a.pt", save_pth), ("b", save_nested), ("c.safetensors", save_file)]
)
def test_a_local_file_has_the_weights_and_no_normalisation(file: str, save: Callable[..., None]) -> None:
    state = numbered("squeezenet1_1")
    save(state, Path(file))
    network = TorchvisionNetwork(5, "squeezenet1_1", file)
    assert torch.equal(network.model.get_parameter("features.0.weight"), state["features.0.weight"])
    assert network.preprocessing is None
    assert f"{file}, without a normalisation of its own" in Pretrained("squeezenet1_1", file).describe()


def test_a_local_file_with_the_name_of_torchvisions_has_its_preprocessing(tmp_path: Path) -> None:
    name = models.EfficientNet_B0_Weights.DEFAULT.url.rpartition("/")[2]
    weights = Pretrained("efficientnet_b0", str(tmp_path / name))
    assert weights.preprocessing() == Pretrained("efficientnet_b0", "DEFAULT").preprocessing()
    assert weights.describe() == (
        f"{tmp_path / name} (IMAGENET1K_V1), with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 and bicubic "
        "interpolation"
    )
    assert Pretrained("resnet18", str(tmp_path / name)).preprocessing() is None


def test_the_preprocessing_of_all_named_weights_is_torchvisions() -> None:
    for name in models.list_models(module=models):
        for choice in models.get_model_weights(name):
            expected, found = choice.transforms(), Pretrained(name, choice.name).preprocessing()
            assert found is not None
            assert (list(found.mean), list(found.std)) == (list(expected.mean), list(expected.std))
            assert found.interpolation == expected.interpolation.value


def test_files_without_counters_and_with_the_old_names_of_densenet_are_read() -> None:
    state = numbered("densenet121")
    old = {
        key.replace(".norm1", ".norm.1").replace(".norm2", ".norm.2").replace(".conv1", ".conv.1"): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert len(old.keys() - state.keys()) > 100
    torch.save(old, "old.pth")
    got = TorchvisionNetwork(1000, "densenet121", "old.pth").model.state_dict()
    for key, value in state.items():
        assert key.endswith("num_batches_tracked") or torch.equal(got[key], value), key


def test_weights_of_another_network_are_refused() -> None:
    state = numbered("resnet18")
    torch.save(numbered("resnet34"), "resnet34.pth")
    torch.save({key: value for key, value in state.items() if key != "conv1.weight"}, "lacking.pth")
    torch.save({**state, "layer1.0.conv1.weight": torch.zeros(64, 64, 5, 5)}, "shape.pth")
    start = "model.network.weights must be weights of resnet18, got"
    found = message(5, "resnet18", "resnet34.pth")
    assert found.startswith(f"{start} resnet34.pth of another network (")
    assert "the first is layer1.2.conv1.weight" in found
    assert message(5, "resnet18", "lacking.pth").endswith("(1 keys or shapes differ, the first is conv1.weight)")
    assert message(5, "resnet18", "shape.pth").endswith("(1 keys or shapes differ, the first is layer1.0.conv1.weight)")


def test_a_file_that_has_no_weights_is_refused() -> None:
    torch.save(numbered("squeezenet1_1"), "whole.pth")
    Path("half.pth").write_bytes(Path("whole.pth").read_bytes()[:90_000])
    torch.save([1, 2], "list.pth")
    torch.save({"dasc": {"format": 2}, "state_dict": {}}, "run.ckpt")
    cases = {
        "nowhere.pth": "there is no file nowhere.pth: check model.network.weights",
        "folder/nowhere": "there is no file folder/nowhere: check model.network.weights",
        "half.pth": "half.pth cannot be read as a state_dict, it may be truncated",
        "list.pth": "list.pth is no state_dict",
        "run.ckpt": "must be a state_dict, got run.ckpt, a checkpoint of dasc: set init_from.path to it",
    }
    for file, says in cases.items():
        assert says in message(5, "squeezenet1_1", file)


def test_a_failed_download_is_one_sentence_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"{NOWHERE}/squeezenet1_1-b8a52dc0.pth"
    monkeypatch.setattr(SQUEEZENET.value, "url", url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    found = message(5, "squeezenet1_1", "DEFAULT")
    assert found.startswith(f"model.network.weights must be downloaded from {url}, which failed (")
    assert found.endswith("): download it elsewhere and set model.network.weights to its path")
    assert cached(tmp_path) == []


def test_a_damaged_download_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served = serve(monkeypatch, SQUEEZENET, numbered("squeezenet1_1"), tmp_path)
    served.write_bytes(served.read_bytes()[:-1])
    assert "which failed (invalid hash value" in message(5, "squeezenet1_1", "DEFAULT")
    assert cached(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(monkeypatch, SQUEEZENET, numbered("squeezenet1_1"), tmp_path)
    TorchvisionNetwork(5, "squeezenet1_1", "DEFAULT")
    (path,) = cached(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert message(5, "squeezenet1_1", "DEFAULT").startswith(f"{path} is damaged: its SHA-256 is not that of file://")


def test_of_several_processes_one_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = numbered("squeezenet1_1")
    serve(monkeypatch, SQUEEZENET, state, tmp_path)
    real, calls, start = hub.download_url_to_file, list[str](), threading.Barrier(2)

    def slow(url: str, *arguments: Any, **settings: Any) -> None:
        calls.append(url)
        time.sleep(0.3)
        real(url, *arguments, **settings)

    def build(_: int) -> TorchvisionNetwork:
        start.wait()
        return TorchvisionNetwork(5, "squeezenet1_1", "DEFAULT")

    monkeypatch.setattr(hub, "download_url_to_file", slow)
    with ThreadPoolExecutor(2) as threads:  # a file lock excludes threads as it does processes
        networks = list(threads.map(build, range(2)))
    assert len(calls) == 1
    assert [hashlib.sha256(path.read_bytes()).hexdigest()[:8] in path.name for path in cached(tmp_path)] == [True]
    for network in networks:
        assert torch.equal(network.model.get_parameter("features.0.weight"), state["features.0.weight"])


def test_deferred_weights_are_loaded_later_and_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(monkeypatch, models.ResNet18_Weights.DEFAULT, numbered("resnet18"), tmp_path)
    torch.manual_seed(0)
    direct = TorchvisionNetwork(5, "resnet18", "DEFAULT")
    torch.manual_seed(0)
    with deferred_weights():
        deferred = TorchvisionNetwork(5, "resnet18", "DEFAULT")
        missing = TorchvisionNetwork(5, "resnet18", "nowhere.pth")
    assert not torch.equal(deferred.model.get_parameter("conv1.weight"), direct.model.get_parameter("conv1.weight"))
    set_auxiliary_blocks(deferred, 1)  # a training adds them before it loads the weights
    load_pretrained(deferred)
    set_auxiliary_blocks(deferred, 0)
    for key, value in direct.state_dict().items():
        assert torch.equal(deferred.state_dict()[key], value), key
    with pytest.raises(UserError, match=r"there is no file nowhere\.pth"):
        load_pretrained(missing)


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("mobilenetv2", None, "unknown torchvision network 'mobilenetv2': did you mean mobilenet_v2 or "),
        ("resnet-18", None, "unknown torchvision network 'resnet-18': did you mean resnet18 or "),
        ("???", None, "unknown torchvision network '???': known are alexnet, convnext_base, "),
        ("googlenet", None, "model.network.name must be a network with one output, got 'googlenet', which has two"),
        ("inception_v3", None, "model.network.name must be a network with one output, got 'inception_v3', "),
        ("fcn_resnet50", None, "unknown torchvision network 'fcn_resnet50': did you mean "),
        (
            "mobilenet_v2",
            "IMAGENET1K_V3",
            "model.network.weights must be one of DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2 for mobilenet_v2, or the path "
            "of a file with its state_dict, got 'IMAGENET1K_V3'",
        ),
        (
            "resnet18",
            "best",
            "model.network.weights must be one of DEFAULT, IMAGENET1K_V1 for resnet18, or the path of ",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, weights: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        TorchvisionNetwork(10, name, weights)
    assert str(error.value).startswith(sentence)
