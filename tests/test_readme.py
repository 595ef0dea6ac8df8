"""What the README tells a user to type works."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision import models

from dasc.augment import OPERATIONS
from dasc.cli import main
from dasc.networks import set_auxiliary_blocks
from dasc.study import entry as study_command
from dasc.study.analysis.figures import parse_figure
from dasc.study.specification.axes import parse_axis
from dasc.study.specification.file import read_study
from tests.support.augmentation import reference
from tests.support.files import make_folder
from tests.support.studies import few

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
LINES = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
QUICK = (
    *("--config", "configs/scale/smoke.yaml", "--trainer.accelerator=cpu", "--trainer.devices=1"),
    *("--trainer.enable_progress_bar=false", "--trainer.limit_train_batches=1"),
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    make_folder(tmp_path / "my_images", {"train": {"cat": 100, "dog": 100}})
    make_folder(tmp_path / "photos", {"train": {"cat": 40, "dog": 40}, "test": {"cat": 4, "dog": 4}})
    return tmp_path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of MobileNetV2, which cannot be downloaded everywhere."""
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(models.mobilenet_v2(weights=None).state_dict(), path)
    return path


def quick(command: list[str], weights: Path) -> list[str]:
    """Return a command of the README with options that make it short; those that only read are as they are."""
    if command[1] in ("configs", "completion") or "--images" in command:
        return command[1:]
    if command[1] == "export":
        return [*command[1:], "--max_drop=100", "--latency_seconds=0.1"]
    if command[1] == "compare":
        return [*command[1:], "--latency_seconds=0.1"]
    if command[1] == "study" and command[2] not in ("plan", "run"):
        return command[1:]
    own = [f"--model.network.weights={weights}", "--data.image_size=32"] if "configs/finetune.yaml" in command else []
    return [*command[1:], *own, *QUICK]


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(here: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_command, "read_study", lambda path: few(read_study(path)))
    commands = [shlex.split(line) for line in LINES if line.startswith("dasc")]
    assert len(commands) > 8
    for command in commands:
        main(quick(command, weights))
    runs = [path for path in here.rglob("version_*") if "studies" not in path.parts]
    fresh = [command for command in commands if command[1] == "fit" and "last" not in command]
    # the longer tables of the README are the same under the smoke overlay, so `last` continues a finished one
    assert len(runs) == len(fresh)
    assert (here / "predictions.csv").exists()
    assert len((here / "comparison" / "compare.csv").read_text().splitlines()) == 1 + 3
    labels = [(here / name).read_text().splitlines() for name in ("labels.csv", "onnx.csv")]
    assert len(labels[0]) == 1 + 8
    assert [line.split(",")[:2] for line in labels[0]] == [line.split(",")[:2] for line in labels[1]]
    assert len(list(here.rglob("report.html"))) == len(
        [command for command in commands if command[1:3] == ["study", "run"]]
    )


def test_the_other_commands_are_known() -> None:
    others = {line for line in LINES if not line.startswith("dasc")}
    assert others == {"make demo", "make test", "tensorboard --logdir lightning_logs"}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "lint", "help"} <= set(targets)


def test_the_configs_shown_are_those_shipped() -> None:
    shown, study = (block for kind, block in BLOCKS if kind == "yaml")
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "configs" / "prune_decay.yaml").read_text())
    given = yaml.safe_load(study)
    shipped = read_study(ROOT / "configs" / "studies" / "smoke" / "fig1.yaml")
    assert given["name"] == shipped.name
    axes = {name: labels for name, labels in shipped.grid.axes.items() if len(labels) > 1}
    assert {name: parse_axis(name, axis) for name, axis in given["axes"].items()} == axes
    assert parse_figure(given["figure"] | {"panels": "experiment"}, shipped.grid.axes) == shipped.figures[0]
    assert given["set"]["epochs_scale"] == shipped.grid.set["epochs_scale"]


def test_the_python_shown_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["fit", "--config", "configs/prune_decay.yaml", *QUICK])
    names: dict[str, Any] = {}
    for kind, block in BLOCKS:
        if kind == "python":
            exec(block, names)
    saved = torch.load("lightning_logs/version_0/checkpoints/best.ckpt", weights_only=True)
    weights = names["network"].state_dict()
    assert {f"network.{name}" for name in weights} == {name for name in saved["state_dict"] if "masks." not in name}
    assert all(torch.equal(value, saved["state_dict"][f"network.{name}"]) for name, value in weights.items())
    zeros = sum(int((weights[name] == 0).sum()) for name in names["masks"])
    assert zeros == sum(int((~mask).sum()) for mask in names["masks"].values()) > 0
    assert names["meta"]["classes"] == [str(digit) for digit in range(10)]
    images, draws = names["images"], names["draws"]
    for place, image in enumerate(names["augmented"]):
        expected = images[place]
        for number, negative in zip(draws.operation[place].tolist(), draws.negative[place].tolist(), strict=True):
            expected = reference(expected, OPERATIONS[number].name, 14, negative)
        assert torch.equal(image, expected), place
    own = names["MyNetwork"](10)
    before = set(own.state_dict())
    set_auxiliary_blocks(own, 2)
    added = {name.partition(".auxiliary.")[0] for name in set(own.state_dict()) - before}
    assert added == {"layer2"}
    assert own(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_the_files_linked_exist() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
