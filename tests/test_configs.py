import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision import models

from dasc.cli import main
from dasc.stages import Stages
from tests.support.files import accept_made_files, make_cifar, make_fashion_mnist, make_folder, make_imagenet

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("paper/*.yaml")])
STUDIES = set(CONFIGS.glob("studies/**/*.yaml"))  # tests/study/test_studies.py runs them
OVERLAYS = sorted(set(CONFIGS.rglob("*.yaml")) - set(EXPERIMENTS) - STUDIES)
BASE = CONFIGS / "prune_decay.yaml"
INHERITING = CONFIGS / "paper" / "fig4_inheriting.yaml"

MAKERS: dict[str, Callable[[Path], Any]] = {
    "digits": lambda root: None,  # they ship with scikit-learn
    "cifar10": lambda root: make_cifar(root, 10, train=20, test=2),
    "cifar100": lambda root: make_cifar(root, 100, train=10, test=1),
    "fashion_mnist": lambda root: make_fashion_mnist(root, train=20, test=2),
    "imagenet": lambda root: make_imagenet(root, train=20, test=2),
    "folder": lambda root: make_folder(root, {"train": {"cat": 30, "dog": 30}}, suffixes=(".jpg", ".png")),
}
"""Each writes a small data set in the format of its name: a config of another one needs its own."""

QUICK = {
    "epochs_scale": 0.001,
    "data.init_args.batch_size": 16,
    "data.init_args.eval_batch_size": 64,
    "trainer.accelerator": "cpu",
    "trainer.check_val_every_n_epoch": 1,
    "trainer.devices": 1,
    "trainer.enable_progress_bar": False,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 1,
    "trainer.precision": "32-true",
}
ROOTS = ("data.init_args.root", "trainer.default_root_dir")
LARGE = {"data.init_args.image_size": 32, "data.init_args.on_device": False, "data.init_args.num_workers": 0}
"""Images that are too many to be resident are streamed here too."""


def test_there_are_configs() -> None:
    assert BASE in EXPERIMENTS


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_runs_through_all_its_stages(
    path: Path, starts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = before(yaml.safe_load(path.read_text()), starts, monkeypatch)
    saved = leaves(run(tmp_path, monkeypatch, path, settings=settings))
    for key, value in leaves(yaml.safe_load(path.read_text())).items():
        if key == "stages":
            assert Stages.parse(saved[key]) == Stages.parse(value)
        elif not key.endswith("class_path") and key not in QUICK and key not in settings and key not in ROOTS:
            assert saved[key] == value, key


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what configs start from; each is trained once."""
    return tmp_path_factory.mktemp("starts")


def before(config: dict[str, Any], starts: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make what a config starts from, and return where it is: a pruned network, a teacher, or pretrained weights."""
    network = config["model"]["init_args"]["network"]["init_args"]
    if "weights" in network:
        url = models.get_model_weights(network["name"])[network["weights"]].url
        path = starts / url.rpartition("/")[2]
        torch.save(models.get_model(network["name"], weights=None).state_dict(), path)
        return {"model.init_args.network.init_args.weights": path, "data.init_args.image_size": 32}
    if "init_from" in config:
        root = starts / "pruned"
        if not root.exists():
            run(root, patch, INHERITING)
        return {"init_from.path": root / "lightning_logs" / "version_0" / "checkpoints" / "stage-2.ckpt"}
    if "teacher" in config["model"]["init_args"]:
        dataset = config["data"]["init_args"]["dataset"]
        root = starts / f"teacher-{dataset}"
        if not root.exists():
            data = CONFIGS / "data" / f"{dataset}.yaml"
            run(root, patch, CONFIGS / "teacher.yaml", data, settings={"model.network.depth": 8})
        return {"model.init_args.teacher.path": root}
    return {}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("paper/*.yaml")), ids=lambda path: path.stem)
def test_the_command_in_a_config_of_the_paper_trains_as_long_as_its_header_says(
    path: Path, starts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(path.read_text())
    header = "\n".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# "))
    (command,) = re.findall(rf"^dasc fit (--config configs/paper/{path.name} .*)$", header, re.MULTILINE)
    settings = before(config, starts, monkeypatch) | {"data.download": False, "data.batch_size": 16}
    accept_made_files(monkeypatch)
    MAKERS[config["data"]["init_args"]["dataset"]](tmp_path / "data")
    Path("configs").symlink_to(CONFIGS)
    monkeypatch.setenv("COLUMNS", "200")
    main(["plan", *shlex.split(command), *(f"--{key}={value}" for key, value in settings.items())])
    plan = capsys.readouterr().out
    (epochs,) = re.findall(r"epochs_scale brings them to ([\d x+]+) epochs", header)
    total = sum(int(part.partition(" x ")[0]) * int(part.partition(" x ")[2] or 1) for part in epochs.split(" + "))
    assert int(re.findall(r"^ *total +(\d+)", plan, re.MULTILINE)[0]) == total
    assert re.search(r"optimizer +SGD \(lr 0\.1, .*weight_decay 0\.0005,", plan)
    (cost,) = re.findall(r"it would cost about ([\d.]+) PFLOP", header)
    if "teacher" not in config["model"]["init_args"] and not any("auxiliary" in row for row in config["stages"]):
        macs = int(re.findall(r"parameters, ([\d,]+) MACs at 32x32", plan)[0].replace(",", ""))
        # a training step is three forward passes; 45,000 of CIFAR's images are not validated on
        assert float(cost) == pytest.approx(3 * 2 * macs * total * 45_000 / 1e15, rel=0.03)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("paper/*_student_*.yaml")), ids=lambda path: path.stem)
def test_a_student_looks_for_its_teacher_where_the_teachers_config_leaves_it(path: Path) -> None:
    teacher = yaml.safe_load(path.with_name(path.name.replace("student", "teacher")).read_text())
    source = yaml.safe_load(path.read_text())["model"]["init_args"]["teacher"]["path"]
    assert source == teacher["trainer"]["default_root_dir"]


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: f"{path.parent.stem}-{path.stem}")
def test_every_overlay_runs_on_the_main_job(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved = leaves(run(tmp_path, monkeypatch, BASE, path))
    for key, value in leaves(yaml.safe_load(path.read_text())).items():
        if key.endswith("class_path"):
            assert saved[key].endswith(value), key
        elif key not in QUICK and key != "data.init_args.root":
            assert saved[key] == value, key


def run(root: Path, patch: pytest.MonkeyPatch, *configs: Path, settings: dict[str, Any] | None = None) -> Any:
    """Run one epoch of two steps a stage on a small data set of the format that the configs name.

    Returns:
        The config that the run saved.
    """
    read = [yaml.safe_load(path.read_text()) for path in configs]
    named = [config.get("data", {}).get("init_args", {}).get("dataset") for config in read]
    dataset = [name for name in named if name is not None][-1]
    assert dataset in MAKERS, f"{configs[-1].name} needs a maker of {dataset}"
    accept_made_files(patch)
    MAKERS[dataset](root / "data")
    settings = QUICK | (LARGE if dataset == "imagenet" else {}) | (settings or {})
    settings |= {"data.init_args.root": root / "data", "trainer.default_root_dir": root}
    files = [word for path in configs for word in ("--config", str(path))]
    root.mkdir(exist_ok=True)
    main(["fit", *files, *(f"--{key}={value}" for key, value in settings.items())])
    left = root / "lightning_logs" / "version_0"
    stages = [config["stages"] for config in read if "stages" in config][-1]
    assert len((left / "stages.csv").read_text().splitlines()) == 1 + len(stages)
    assert (left / "checkpoints" / "best.ckpt").exists()
    return yaml.safe_load((left / "config.yaml").read_text())


def leaves(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a config by their dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
