"""A checkpoint cannot make dasc import a module that nobody trusts."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dasc import checkpoint
from dasc.checkpoint import FORMAT
from dasc.cli import main
from dasc.config import ConfigReader
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, InitFrom, TeacherConfig, load_teacher, start_from
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.errors import exit_message

SOURCE = """\
from pathlib import Path
from dasc.networks import CifarResNet
Path("imported").touch()
class Net(CifarResNet):
    pass
"""


NUMBERS = count()
"""A module for each test: a class cannot be removed once it is imported."""


@pytest.fixture(params=["evil{}.Net", "evil{}.inner.Net", "dascevil{}.Net"])
def class_path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network class of a module that writes a file when it is imported."""
    path: str = request.param.format(next(NUMBERS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    module = path.rpartition(".")[0]
    source = tmp_path.joinpath("modules", *module.split(".")).with_suffix(".py")
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    return path


@pytest.fixture
def path(class_path: str) -> Path:
    network = CifarResNet(10, depth=8)
    meta = {
        "format": FORMAT,
        "network": {"class_path": class_path, "init_args": {"num_classes": 10, "depth": 8, "shortcut": "A"}},
        "classes": list("0123456789"),
        "mean": list(ImageData().mean),
        "std": list(ImageData().std),
    }
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "dasc": meta}, "other.ckpt")
    return Path("other.ckpt")


def classifier(network: nn.Module) -> Classifier:
    return Classifier(network, Stages.parse([{"epochs": 1}]))


def test_a_class_of_another_module_is_not_imported(path: Path, class_path: str) -> None:
    calls: list[Any] = [
        lambda: checkpoint.load_network(path),
        lambda: checkpoint.load_network(path, ["evi", "evil.other"]),
        lambda: start_from(classifier(CifarResNet(10, depth=8)), InitFrom(str(path))),
        lambda: load_teacher(TeacherConfig(path=str(path)), ImageData()),
    ]
    top = class_path.partition(".")[0]
    for call in calls:
        with pytest.raises(UserError) as raised:
            call()
        message = f"other.ckpt names the network class {class_path}; to import it, add --trust {top}"
        assert str(raised.value) == message
    assert not Path("imported").exists()


def test_a_class_of_a_trusted_module_is_imported(path: Path, class_path: str) -> None:
    top = class_path.partition(".")[0]
    network = checkpoint.load_network(path, trust=(top,)).network
    assert type(network).__module__ == class_path.rpartition(".")[0]
    module = classifier(CifarResNet(10, depth=8))
    module.trust = (top,)
    start_from(module, InitFrom(str(path)))
    start_from(classifier(network), InitFrom(str(path)))
    load_teacher(TeacherConfig(path=str(path)), ImageData(), [top])
    load_teacher(TeacherConfig(path=str(path), network=class_path), ImageData())


def test_the_commands_import_what_trust_names(
    path: Path, class_path: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = class_path.partition(".")[0]
    words = ["plan", "--config", str(tiny), "--init_from.path", str(path)]
    assert f"names the network class {class_path}; to import it, add --trust {top}" in exit_message(words, capsys)
    words = ["teacher-report", "--config", str(tiny), "--teachers", str(path)]
    assert f"names the network class {class_path}; to import it, add --trust {top}" in exit_message(words, capsys)
    assert not Path("imported").exists()
    main(["plan", "--config", str(tiny), "--init_from.path", str(path), "--trust", "x", "--trust", top])
    assert Path("imported").exists()


def test_trust_may_be_repeated(tiny: Path) -> None:
    reader = ConfigReader()
    config = ["--config", str(tiny)]
    assert reader.read([*config, "--trust", "a", "--trust=b.c"])["trust"] == ["a", "b.c"]
    assert reader.read([*config, "--trust=[a, b]", "--trust", "c"])["trust"] == ["a", "b", "c"]
    assert "trust" not in reader.read(config)
