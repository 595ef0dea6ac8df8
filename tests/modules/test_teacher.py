from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from dasc.checkpoint import FORMAT
from dasc.data import ImageData
from dasc.modules import TeacherConfig, load_teacher
from dasc.networks import CifarResNet, describe_network, set_auxiliary_blocks
from tests.support.errors import user_error
from tests.support.files import make_folder
from tests.support.pretrained import NOWHERE, serve

RESNET8: dict[str, Any] = {"network": "CifarResNet", "network_args": {"depth": 8}}


def network(classes: int = 10, seed: int = 0) -> CifarResNet:
    torch.manual_seed(seed)
    made = CifarResNet(classes, depth=8)
    made(torch.randn(32, 3, 8, 8))  # statistics of BatchNorm that are not those of a new network
    return made


def write_checkpoint(path: Path, **changes: Any) -> Path:
    made = network()
    meta = {
        "format": FORMAT,
        "network": describe_network(made),
        "classes": list("0123456789"),
        "mean": list(ImageData().mean),
        "std": list(ImageData().std),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"network.{key}": value for key, value in made.state_dict().items()}
    torch.save({"state_dict": state, "dasc": meta | changes}, path)
    return path


def answers(source: TeacherConfig, images: Tensor) -> Tensor:
    return load_teacher(source, ImageData()).logits(images)


def save_pt(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


@pytest.mark.parametrize(("name", "save"), [("t.pt", save_pt), ("t.pth", save_pt), ("t.safetensors", save_file)])
@pytest.mark.parametrize("kind", ["CifarResNet", "dasc.networks.CifarResNet"])
def test_a_state_dict_of_a_named_network_is_loaded(name: str, save: Callable[..., None], kind: str) -> None:
    made = network().eval()
    save(made.state_dict(), Path(name))
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        expected = made(images)
    assert torch.equal(answers(TeacherConfig(path=name, **RESNET8 | {"network": kind}), images), expected)


def test_a_checkpoint_is_loaded_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.ckpt")
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        expected = network().eval()(images)
    teacher = load_teacher(TeacherConfig(path=str(path)), ImageData())
    assert torch.equal(teacher.logits(images), expected)
    assert not any(module.training for module in teacher.network.modules())
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    assert not teacher.logits(images.requires_grad_()).requires_grad
    assert not isinstance(teacher, nn.Module)


def test_a_folder_stands_for_the_best_of_its_newest_run(tmp_path: Path) -> None:
    for number in (2, 10):
        write_checkpoint(tmp_path / "runs" / "lightning_logs" / f"version_{number}" / "checkpoints" / "best.ckpt")
    newest = tmp_path / "runs" / "lightning_logs" / "version_10"

    other = network(seed=5).eval()
    saved = torch.load(newest / "checkpoints" / "best.ckpt", weights_only=True)
    saved["state_dict"] = {f"network.{key}": value for key, value in other.state_dict().items()}
    torch.save(saved, newest / "checkpoints" / "best.ckpt")
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = other(images)
    for path in (tmp_path / "runs", tmp_path / "runs" / "lightning_logs", newest):
        assert torch.equal(answers(TeacherConfig(path=str(path)), images), expected)


def test_the_teachers_own_normalisation_is_kept(tmp_path: Path) -> None:
    own_mean, own_std = (0.2, 0.4, 0.6), (0.1, 0.3, 0.2)
    path = write_checkpoint(tmp_path / "a.ckpt", mean=list(own_mean), std=list(own_std))
    data = ImageData()
    pixels = torch.rand(4, 3, 8, 8)
    for_student = (pixels - torch.tensor(data.mean).view(3, 1, 1)) / torch.tensor(data.std).view(3, 1, 1)
    for_teacher = (pixels - torch.tensor(own_mean).view(3, 1, 1)) / torch.tensor(own_std).view(3, 1, 1)
    with torch.no_grad():
        expected = network().eval()(for_teacher)
    said = answers(TeacherConfig(path=str(path)), for_student)
    assert torch.allclose(said, expected, rtol=1e-4, atol=1e-5)
    save_pt(network().state_dict(), tmp_path / "a.pt")
    named = TeacherConfig(path=str(tmp_path / "a.pt"), **RESNET8, mean=list(own_mean), std=list(own_std))
    assert torch.allclose(answers(named, for_student), expected, rtol=1e-4, atol=1e-5)


def test_torchvisions_weights_are_taken_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = models.resnet18(weights=None).eval()
    serve(monkeypatch, models.ResNet18_Weights.IMAGENET1K_V1, made.state_dict(), tmp_path)
    data = ImageData("imagenet", root=str(tmp_path), image_size=32)
    images = torch.randn(2, 3, 32, 32)
    teacher = load_teacher(TeacherConfig(weights="ResNet18_Weights.IMAGENET1K_V1"), data)
    with torch.no_grad():
        assert torch.equal(teacher.logits(images), made(images))


def test_the_hash_is_of_the_weights_and_of_nothing_else(tmp_path: Path) -> None:
    one = write_checkpoint(tmp_path / "a.ckpt")
    save_pt(network().state_dict(), tmp_path / "a.pt")
    same = TeacherConfig(path=str(tmp_path / "a.pt"), **RESNET8)
    save_pt(network(seed=1).state_dict(), tmp_path / "b.pt")
    other = TeacherConfig(path=str(tmp_path / "b.pt"), **RESNET8)
    hashes = [load_teacher(source, ImageData()).hash for source in (TeacherConfig(path=str(one)), same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_low_precision_weights_answer_as_autocast_does() -> None:
    save_pt(network().state_dict(), Path("t.pt"))
    plain, low = (load_teacher(TeacherConfig(path="t.pt", **RESNET8), ImageData()) for _ in range(2))
    low.to(torch.device("cpu"), torch.bfloat16)
    images = torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(plain.logits(images), low.logits(images))
    assert low.network.get_parameter("bn1.weight").dtype == torch.float32
    assert low.network.get_parameter("conv1.weight").dtype == torch.bfloat16


def test_a_lost_connection_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{NOWHERE}/resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = TeacherConfig(weights="ResNet18_Weights.IMAGENET1K_V1")
    said = user_error(load_teacher, source, ImageData("imagenet", root=str(tmp_path), image_size=32))
    assert said.startswith(f"teacher.weights must be downloaded from {NOWHERE}/resnet18-f37072fd.pth, which failed (")
    assert said.endswith(f"copy it to {tmp_path}/hub/checkpoints/resnet18-f37072fd.pth")


def test_what_is_wrong_with_a_teacher_is_one_sentence(tmp_path: Path) -> None:
    save_pt(network().state_dict(), tmp_path / "t.pt")
    save_pt(network(classes=7).state_dict(), tmp_path / "seven.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "t.pt").read_bytes()[:9000])
    (tmp_path / "half.safetensors").write_bytes(bytes(40))
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "empty").mkdir()
    longer = network()
    set_auxiliary_blocks(longer, 1)
    save_pt(longer.state_dict(), tmp_path / "blocks.pt")
    deeper: dict[str, Any] = {"network": "CifarResNet", "network_args": {"depth": 14}}
    cases = [
        (TeacherConfig(), "teacher is not given: write teacher.path (a checkpoint), weights (torchvision's) or stage"),
        (TeacherConfig(path="a", weights="b"), "teacher has both path a and weights b: write one"),
        (
            TeacherConfig(path="t.pt", mean=[0.5], **RESNET8),
            "teacher.mean is [0.5]: write three numbers, one a channel",
        ),
        (TeacherConfig(path="t.pt", std=[0, 1, 1], **RESNET8), "teacher.std is [0, 1, 1]: write three numbers over 0"),
        (TeacherConfig(path="a.ckpt", mean=[0, 0, 0]), "teacher.mean is for a state_dict, this teacher brings its own"),
        (TeacherConfig(path="blocks.pt", **RESNET8), "has auxiliary blocks (layer3.auxiliary.0.conv1.weight): use the"),
        (TeacherConfig(weights="GoogLeNet_Weights.IMAGENET1K_V1"), "unknown weights of torchvision"),
        (TeacherConfig(weights="ResNet18_Weights.IMAGENET1K_V1"), "has 1000 classes, the data 10"),
        (TeacherConfig(path="nowhere.ckpt"), "there is no checkpoint nowhere.ckpt"),
        (TeacherConfig(path="nowhere.pt", **RESNET8), "there is no file nowhere.pt"),
        (TeacherConfig(path="empty"), "no run in empty has a checkpoint 'best'"),
        (TeacherConfig(path="t.pt"), "t.pt is a state_dict: write the class of its network as teacher.network"),
        (TeacherConfig(path="half.pt", **RESNET8), "half.pt cannot be read as a state_dict, it may be truncated"),
        (TeacherConfig(path="half.safetensors", **RESNET8), "half.safetensors cannot be read as a state_dict"),
        (TeacherConfig(path="list.pt", **RESNET8), "list.pt is no state_dict"),
        (TeacherConfig(path="t.pt", **deeper), "the weights in t.pt are of another network than teacher.network"),
        (TeacherConfig(path="seven.pt", **RESNET8), "the weights in seven.pt are of another network"),
        (
            TeacherConfig(path="t.pt", network="CifarResnet"),
            "class of teacher.network 'CifarResnet': did you",
        ),
        (
            TeacherConfig(path="t.pt", network="CifarResNet", network_args={"deep": 8}),
            "network_args do not fit dasc.networks",
        ),
        (TeacherConfig(weights="ResNet18_Weights.IMAGENET1K_V3"), "did you mean ResNet18_Weights.IMAGENET1K_V1"),
    ]
    for source, said in cases:
        assert said in user_error(load_teacher, source, ImageData()), source


def test_other_classes_are_refused(tmp_path: Path) -> None:
    swapped = list("1023456789")
    path = write_checkpoint(tmp_path / "a.ckpt", classes=swapped)
    assert "class 0 of the teacher" in user_error(load_teacher, TeacherConfig(path=str(path)), ImageData())
    assert "is '1', of the data '0': use a teacher of the same classes in the same order" in user_error(
        load_teacher, TeacherConfig(path=str(path)), ImageData()
    )
    make_folder(tmp_path / "pets", {"train": {"cat": 2, "dog": 2}})
    said = user_error(load_teacher, TeacherConfig(path=str(path)), ImageData("folder", root=str(tmp_path / "pets")))
    assert "has 10 classes, the data 2" in said
