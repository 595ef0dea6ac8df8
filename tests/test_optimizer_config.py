"""Optimizer settings over several sources: naming the class discards all settings of earlier sources."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.optim import SGD, Adam, AdamW, Optimizer

from dasc.cli import main
from dasc.config import ConfigReader
from dasc.errors import UserError
from dasc.study.specification.file import read_study
from dasc.study.specification.runs import resolve_runs

CONFIGS = Path(__file__).parents[1] / "configs"
MODULES = ["Classifier", "PrunedClassifier", "DistilledClassifier"]
BASE = """\
stages: [{epochs: 1}, {epochs: 1}]
model: {class_path: MODULE, init_args: {network: {class_path: CifarResNet, init_args: {depth: 8}}}}
data: {class_path: ImageData, init_args: {dataset: digits, batch_size: 128}}
trainer: {accelerator: cpu, devices: 1, enable_progress_bar: false, limit_train_batches: 1}
"""
FILES = {
    "sgd.yaml": "{class_path: torch.optim.SGD, init_args: {lr: 0.2, momentum: 0.8}}",
    "sgd-lr.yaml": "{class_path: SGD, init_args: {lr: 0.3}}",
    "adamw.yaml": "{class_path: torch.optim.AdamW, init_args: {lr: 0.01, weight_decay: 0.2}}",
    "adamw-no-lr.yaml": "{class_path: AdamW, init_args: {eps: 1.0e-4}}",
    "name.yaml": "AdamW",
    "lr.yaml": "{init_args: {lr: 0.05}}",
    "flat.yaml": "{lr: 0.05}",
    "class-in-file.yaml": "settings/class.yaml",
    "lr-in-file.yaml": "settings/lr.yaml",
}
"""Config files that set `optimizer` only, after which they are called."""

SETTINGS = {"class.yaml": "{class_path: SGD, init_args: {lr: 0.4}}", "lr.yaml": "{init_args: {lr: 0.05}}"}

DEFAULT = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}

CASES: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    # no class is named: the rest of the default is kept
    "base.yaml": (SGD, DEFAULT),
    "base.yaml lr=0.05": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml init_args.lr=0.05": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml ={init_args: {lr: 0.05}}": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml lr=0.05 nesterov=false": (SGD, DEFAULT | {"lr": 0.05, "nesterov": False}),
    "base.yaml lr.yaml": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml flat.yaml": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml lr-in-file.yaml": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml lr.yaml momentum=0.5": (SGD, DEFAULT | {"lr": 0.05, "momentum": 0.5}),
    "lr=0.05 base.yaml": (SGD, DEFAULT | {"lr": 0.05}),
    # the class is named by an option
    "base.yaml =AdamW lr=0.001": (AdamW, {"lr": 0.001}),
    "base.yaml =torch.optim.AdamW lr=0.001": (AdamW, {"lr": 0.001}),
    "base.yaml class_path=AdamW init_args.lr=0.001": (AdamW, {"lr": 0.001}),
    "base.yaml ={class_path: AdamW, init_args: {lr: 0.001}}": (AdamW, {"lr": 0.001}),
    "base.yaml =AdamW lr=0.002 betas=[0.8, 0.9]": (AdamW, {"lr": 0.002, "betas": (0.8, 0.9)}),
    "base.yaml =SGD lr=0.1": (SGD, {"lr": 0.1}),
    "base.yaml =settings/class.yaml": (SGD, {"lr": 0.4}),
    "base.yaml =settings/lr.yaml": (SGD, DEFAULT | {"lr": 0.05}),
    "base.yaml nesterov=false lr=0.7 =Adam lr=0.001": (Adam, {"lr": 0.001}),
    "=AdamW lr=0.001 base.yaml": (AdamW, {"lr": 0.001}),
    "=AdamW lr=0.001 base.yaml sgd.yaml": (SGD, {"lr": 0.2, "momentum": 0.8}),
    # the class is named by a file
    "base.yaml sgd.yaml": (SGD, {"lr": 0.2, "momentum": 0.8}),
    "base.yaml class-in-file.yaml": (SGD, {"lr": 0.4}),
    "base.yaml adamw.yaml": (AdamW, {"lr": 0.01, "weight_decay": 0.2}),
    "base.yaml adamw-no-lr.yaml lr.yaml": (AdamW, {"lr": 0.05, "eps": 1e-4}),
    "base.yaml name.yaml lr=0.003": (AdamW, {"lr": 0.003}),
    "base.yaml sgd.yaml sgd-lr.yaml": (SGD, {"lr": 0.3}),
    "base.yaml sgd.yaml lr.yaml": (SGD, {"lr": 0.05, "momentum": 0.8}),
    "base.yaml lr.yaml sgd.yaml": (SGD, {"lr": 0.2, "momentum": 0.8}),
    "base.yaml adamw.yaml sgd-lr.yaml": (SGD, {"lr": 0.3}),
    "base.yaml sgd.yaml adamw-no-lr.yaml lr=0.1": (AdamW, {"lr": 0.1, "eps": 1e-4}),
    "base.yaml sgd.yaml =SGD lr=0.6": (SGD, {"lr": 0.6}),
    "base.yaml weight_decay=0.3 sgd-lr.yaml momentum=0.1": (SGD, {"lr": 0.3, "momentum": 0.1}),
    # a later source that names no class, such as one that changes the module, changes nothing
    "adamw.yaml base.yaml": (AdamW, {"lr": 0.01, "weight_decay": 0.2}),
    "base.yaml sgd.yaml other.yaml": (SGD, {"lr": 0.2, "momentum": 0.8}),
    "base.yaml lr=0.05 other.yaml": (SGD, DEFAULT | {"lr": 0.05}),
}
"""Sources in their order, and the optimizer: files by name, `=X` and `KEY=X` for --model.optimizer=X and .KEY=X."""

WITHOUT_LR = [
    "base.yaml =AdamW",
    "base.yaml =SGD",
    "base.yaml class_path=torch.optim.AdamW",
    "base.yaml lr=0.05 =AdamW",
    "base.yaml adamw-no-lr.yaml",
    "base.yaml sgd.yaml name.yaml",
    "base.yaml =SGD lr=0.1 =SGD momentum=0.9",
    "lr=0.05 base.yaml name.yaml",
]


@pytest.fixture(scope="module")
def reader() -> ConfigReader:
    return ConfigReader()


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    write_files(tmp_path, "PrunedClassifier")


def write_files(folder: Path, module: str) -> None:
    (folder / "base.yaml").write_text(BASE.replace("MODULE", module))
    other = next(name for name in MODULES if name != module)
    (folder / "other.yaml").write_text(f"model: {other}\n")
    (folder / "settings").mkdir(exist_ok=True)
    for name, text in SETTINGS.items():
        (folder / "settings" / name).write_text(text)
    for name, text in FILES.items():
        (folder / name).write_text(f"model: {{init_args: {{optimizer: {text}}}}}\n")


def options(sources: str) -> list[str]:
    """Return the arguments of a command for sources as in CASES."""
    words = []
    for source in re.findall(r"\w*[.\w]*=(?:[{\[].*[}\]]|\S+)|\S+", sources):
        if source.endswith(".yaml") and "=" not in source:
            words += ["--config", source]
        else:
            words.append(f"--model.optimizer{'' if source.startswith('=') else '.'}{source}")
    return words


def optimizer_of(module: Any) -> tuple[type[Optimizer], dict[str, Any]]:
    made = module.optimizer([torch.nn.Parameter(torch.zeros(1))])
    return type(made), made.defaults


def expected(kind: Any, given: dict[str, Any]) -> tuple[type[Optimizer], dict[str, Any]]:
    return kind, kind([torch.nn.Parameter(torch.zeros(1))], **given).defaults


def test_the_sources_of_a_case_are_the_arguments_of_a_command() -> None:
    assert options("base.yaml =AdamW init_args.lr=0.1 ={a: {b: 1}}") == [
        *("--config", "base.yaml", "--model.optimizer=AdamW", "--model.optimizer.init_args.lr=0.1"),
        "--model.optimizer={a: {b: 1}}",
    ]


@pytest.mark.parametrize("sources", CASES)
def test_a_class_that_is_named_discards_earlier_settings(sources: str, reader: ConfigReader) -> None:
    module, _ = reader.make(reader.read(options(sources)))
    assert optimizer_of(module) == expected(*CASES[sources])


@pytest.mark.parametrize("module", ["Classifier", "DistilledClassifier"])
@pytest.mark.parametrize(
    "sources",
    [
        "base.yaml lr=0.05",
        "base.yaml =AdamW lr=0.001",
        "base.yaml sgd.yaml sgd-lr.yaml",
        "=AdamW lr=0.001 base.yaml",
        "base.yaml adamw-no-lr.yaml lr.yaml",
        "base.yaml sgd.yaml other.yaml",
    ],
)
def test_all_modules_follow_the_rule(sources: str, module: str, tmp_path: Path, reader: ConfigReader) -> None:
    write_files(tmp_path, module)
    made, _ = reader.make(reader.read(options(sources)))
    assert optimizer_of(made) == expected(*CASES[sources])


def test_a_config_without_a_module_starts_from_the_default(reader: ConfigReader) -> None:
    least = ["--stages=[{epochs: 1}]", "--model.network=CifarResNet", "--data=ImageData", "--model=PrunedClassifier"]
    assert optimizer_of(reader.make(reader.read(least))[0]) == expected(SGD, DEFAULT)
    lr = reader.read(["--model.optimizer.lr=0.05", *least])
    assert optimizer_of(reader.make(lr)[0]) == expected(SGD, DEFAULT | {"lr": 0.05})
    named = reader.read([*options("=AdamW lr=0.001"), *least])
    assert optimizer_of(reader.make(named)[0]) == expected(AdamW, {"lr": 0.001})


@pytest.mark.parametrize("module", MODULES)
def test_a_config_that_does_not_set_the_optimizer_resolves_as_before(
    module: str, tmp_path: Path, reader: ConfigReader
) -> None:
    write_files(tmp_path, module)
    config = reader.read(options("base.yaml"), whole=True)
    assert yaml.safe_dump(config["model"]["init_args"]["optimizer"], sort_keys=False) == (
        "class_path: torch.optim.SGD\n"
        "init_args:\n"
        "  lr: 0.1\n"
        "  momentum: 0.9\n"
        "  dampening: 0.0\n"
        "  weight_decay: 0.0005\n"
        "  nesterov: true\n"
        "  maximize: false\n"
        "  foreach: null\n"
        "  differentiable: false\n"
        "  fused: null\n"
    )


def test_shipped_configs_that_name_the_class_set_what_differs_from_its_defaults() -> None:
    configs = {path.name: yaml.safe_load(path.read_text()) for path in CONFIGS.rglob("*.yaml")}
    models = {name: config["model"] for name, config in configs.items() if isinstance(config.get("model"), dict)}
    given = {name: model.get("init_args", {}).get("optimizer", {}) for name, model in models.items()}
    named = {name: optimizer["init_args"].keys() for name, optimizer in given.items() if "class_path" in optimizer}
    assert len(named) > 30
    assert [name for name, keys in named.items() if keys != {"lr", "momentum", "nesterov", "weight_decay"}] == []


def test_other_classes_keep_earlier_settings_as_before(tmp_path: Path, reader: ConfigReader) -> None:
    (tmp_path / "one.yaml").write_text(
        "model: {init_args: {network: {init_args: {shortcut: B}}, label_smoothing: 0.1}}"
    )
    (tmp_path / "two.yaml").write_text(
        "model:\n"
        "  class_path: DistilledClassifier\n"
        "  init_args: {network: {class_path: CifarResNet, init_args: {depth: 14}}}\n"
        "data: {class_path: ImageData, init_args: {cutout: 2}}\n"
    )
    config = reader.read(options("base.yaml one.yaml two.yaml"))
    assert config["model"]["init_args"]["network"]["init_args"] == {"depth": 14, "shortcut": "B"}
    assert config["model"]["init_args"]["label_smoothing"] == 0.1
    assert config["data"]["init_args"]["batch_size"] == 128
    assert config["data"]["init_args"]["cutout"] == 2


@pytest.mark.parametrize("sources", WITHOUT_LR)
def test_a_class_without_a_learning_rate_is_rejected(sources: str, reader: ConfigReader) -> None:
    with pytest.raises(UserError, match=r"model\.optimizer\.lr is missing: optimizer (AdamW|SGD) was named without"):
        reader.read(options(sources))


@pytest.mark.parametrize("command", ["fit", "plan", "validate", "test", "predict"])
def test_a_missing_learning_rate_is_one_sentence_of_each_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main([command, *options("base.yaml =AdamW")])
    assert stop.value.code == 2
    said, errors = capsys.readouterr()
    assert [line for line in errors.splitlines() if line.startswith("dasc")] == [
        f"dasc {command}: model.optimizer.lr is missing: optimizer AdamW was named without a learning rate; "
        "add --model.optimizer.lr 0.001"
    ]
    assert said == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("base.yaml =AdamX lr=0.1", "unknown class 'AdamX'"),
        ("base.yaml =AdamW lr=0.1 momentum=0.9", "unknown option '--model.optimizer.momentum' of AdamW"),
        ("base.yaml =AdamW lr=abc", "model.optimizer.lr must be a number, got 'abc'"),
    ],
)
def test_a_setting_or_class_that_does_not_exist_is_one_sentence(
    sources: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", *options(sources)])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sources", "settings"),
    [
        (
            "base.yaml",
            "SGD (lr 0.1, momentum 0.9, dampening 0.0, weight_decay 0.0005, nesterov True, maximize False)",
        ),
        (
            "base.yaml =SGD lr=0.2",
            "SGD (lr 0.2, momentum 0.0, dampening 0.0, weight_decay 0.0, nesterov False, maximize False)",
        ),
        (
            "base.yaml =AdamW lr=0.001 foreach=true",
            "AdamW (lr 0.001, betas (0.9, 0.999), eps 1e-08, weight_decay 0.01, amsgrad False, maximize False, "
            "foreach True, decoupled_weight_decay True)",
        ),
    ],
)
def test_a_plan_prints_all_settings_of_the_optimizer(
    sources: str, settings: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["plan", *options(sources)])
    text = capsys.readouterr().out
    assert f"optimizer {settings} run batch size 128, seed 0" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("sources", ["base.yaml sgd.yaml", "base.yaml lr=0.05", "base.yaml =AdamW lr=0.001"])
def test_a_saved_config_has_the_same_optimizer(sources: str, reader: ConfigReader) -> None:
    main(["fit", *options(sources)])
    saved = reader.read(["--config", "lightning_logs/version_0/config.yaml"])
    assert optimizer_of(reader.make(saved)[0]) == expected(*CASES[sources])
    assert saved["model"] == reader.read(options(sources))["model"]


@pytest.mark.parametrize("option", ["base.yaml name.yaml", "base.yaml =SGD"])
def test_what_is_printed_by_print_config_lacks_the_learning_rate_too(
    option: str, tmp_path: Path, reader: ConfigReader, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", *options(option), "--print_config"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    with pytest.raises(UserError, match=r"model\.optimizer\.lr is missing"):
        reader.read(options("printed.yaml"))


def test_the_overrides_of_a_study_follow_the_rule(tmp_path: Path, reader: ConfigReader) -> None:
    study = {
        "name": "x",
        "configs": ["base.yaml", "sgd.yaml"],
        "set": {"model.optimizer": "AdamW", "model.optimizer.lr": 0.001},
        "axes": {
            "optimizer": {
                "set": {},
                "lr": {"model.optimizer.lr": 0.002},
                "text": {"model.optimizer": "SGD", "model.optimizer.lr": 0.3},
                "mapping": {"model.optimizer": {"class_path": "SGD", "init_args": {"lr": 0.4}}},
                "file": {"config": "sgd.yaml"},
            }
        },
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    cells = resolve_runs(read_study(Path("study.yaml")), Path("results"), reader, {})
    made = {cell.labels["optimizer"]: optimizer_of(reader.make(cell.config)[0]) for cell in cells}
    assert made == {
        "set": expected(AdamW, {"lr": 0.001}),
        "lr": expected(AdamW, {"lr": 0.002}),
        "text": expected(SGD, {"lr": 0.3}),
        "mapping": expected(SGD, {"lr": 0.4}),
        "file": expected(SGD, {"lr": 0.2, "momentum": 0.8}),
    }


def test_a_study_names_the_override_without_a_learning_rate(tmp_path: Path, reader: ConfigReader) -> None:
    axes = {"optimizer": {"adamw": {"model.optimizer": "AdamW"}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"name": "x", "configs": ["base.yaml"], "axes": axes}))
    with pytest.raises(UserError, match=r"axis optimizer, adamw: model\.optimizer\.lr is missing: optimizer AdamW"):
        resolve_runs(read_study(Path("study.yaml")), Path("results"), reader, {})
