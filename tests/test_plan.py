"""`dasc plan` says before a run what the run's own files say after it, and leaves nothing behind."""

import csv
import re
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from dasc.cli import main
from dasc.data import ImageData
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet
from dasc.plan import Epoch, PlannedStage, epoch_of, planned_stages, print_plan
from dasc.stages import COLUMNS, PlanSizes, Prunable, Stage, Stages

DECAY: list[dict[str, Any]] = [
    {"epochs": 12, "magnitude": 14},
    {"epochs": 6, "sparsity": 0.2, "magnitude": 12},
    {"epochs": 6, "sparsity": 0.4, "magnitude": 8, "lr": 0.025},
    {"epochs": 6, "sparsity": 0.6, "magnitude": 4},
]


def planned(rows: list[dict[str, Any]], depth: int = 20, **settings: Any) -> list[PlannedStage]:
    module = PrunedClassifier(CifarResNet(10, depth, "A"), Stages.parse(rows), **settings)
    return planned_stages(module, (8, 8), Epoch(steps=8, images=1024))


def shown_rates(rows: list[PlannedStage]) -> list[str]:
    return [COLUMNS["lr"].plan_text(row.row.lr, row) for row in rows]


def test_the_stages_of_the_main_job_are_as_counted_by_hand() -> None:
    rows = planned(DECAY)
    assert [(row.first, row.last) for row in rows] == [(1, 12), (13, 18), (19, 24), (25, 30)]
    assert [row.steps for row in rows] == [96, 48, 48, 48]  # 1149 images fill 8 batches of 128
    assert [row.images for row in rows] == [12288, 6144, 6144, 6144]
    assert shown_rates(rows) == ["0.1", "0.1", "0.025", "0.1"]
    assert (rows[0].parameters, rows[0].macs) == (269_722, 2_535_040)
    assert (rows[3].parameters, rows[3].macs) == (108_723, 1_014_156)  # from the stages.csv of a run


@pytest.mark.parametrize("skip", [[], ["conv1", "layer2"]], ids=["all layers", "but some"])
def test_a_run_has_the_sizes_of_its_plan(skip: list[str], tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=1", f"--model.skip={skip}"]
    main(["plan", *args])
    said = table(capsys.readouterr().out)
    main(["fit", *args])
    with open("lightning_logs/version_0/stages.csv") as file:
        ran = list(csv.DictReader(file))
    for plan, row in zip(said[:3], ran, strict=True):
        assert plan["params"].replace(",", "") == row["nonzero_parameters"]
        assert plan["MACs"].replace(",", "") == row["nonzero_macs"]
    assert [row["steps"] for row in said] == ["1", "1", "1", "3"]
    assert ran[2]["nonzero_macs"] != ran[0]["nonzero_macs"]


def test_global_pruning_plans_its_parameters_but_not_its_macs() -> None:
    rows = planned(DECAY, scope="global")
    weights = 3 * 3 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64) + 64 * 10
    assert [row.parameters for row in rows] == [269_722 - round(s * weights) for s in (0, 0.2, 0.4, 0.6)]
    assert [row.macs for row in rows] == [2_535_040, None, None, None]


def test_zeros_are_rounded_in_each_layer_as_the_masks_round_them() -> None:
    layers = {"a": Prunable(weights=5, macs=10), "b": Prunable(weights=7, macs=100)}  # 1.5 -> 2 and 2.1 -> 2
    row = Stage(epochs=1, sparsity=0.3)
    assert row.shrink(PlanSizes(20, 1000, layers, layerwise=True))[:2] == (16, 1000 - 2 * 10 - 2 * 100)
    assert row.shrink(PlanSizes(20, 1000, layers, layerwise=False))[:2] == (16, None)  # 3.6 -> 4


def test_a_classifier_without_masks_keeps_its_size() -> None:
    module = Classifier(CifarResNet(10, 20, "A"), Stages.parse([{"epochs": 2}, {"epochs": 3, "magnitude": "random"}]))
    rows = planned_stages(module, (8, 8), Epoch(8, 1024))
    assert [(row.parameters, row.macs, row.steps) for row in rows] == [(269_722, 2_535_040, n) for n in (16, 24)]


def test_the_optimizers_own_learning_rate_is_the_peak_of_rows_without_one() -> None:
    rows = planned(DECAY, depth=8, optimizer=lambda p: torch.optim.AdamW(p, lr=0.003))
    assert shown_rates(rows) == ["0.003", "0.003", "0.025", "0.003"]


def test_an_epoch_follows_the_trainers_limits() -> None:
    assert epoch_of(1149, 128) == (8, 1024)
    assert epoch_of(1149, 128, limit=3) == (3, 384)
    assert epoch_of(1149, 128, limit=30) == (8, 1024)
    assert epoch_of(1149, 128, limit=0.5) == (4, 512)
    assert epoch_of(1149, 128, limit=1.0) == (8, 1024)
    assert epoch_of(1149, 128, accumulate=3) == (3, 1024)  # 3 + 3 + 2 batches


def table(text: str) -> list[dict[str, str]]:
    """Read the printed table: a dict a row, the totals last, its empty cells left out."""
    rows: list[dict[str, str]] = []
    lines = [re.sub(r"(\d+) to (\d+)", lambda m: m[0].replace(" ", "_"), line) for line in text.splitlines()]
    start = next(k for k, line in enumerate(lines) if line.split()[:1] == ["stage"])
    names = lines[start].split()
    for line in lines[start + 1 :]:
        cells = line.split()
        if cells[0] == "total":
            return [*rows, dict(zip(("stage", "epochs", "steps", "images"), cells, strict=True))]
        rows.append(dict(zip(names, cells, strict=True)))
    raise AssertionError(f"no totals in {text}")


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_command_prints_the_plan_and_leaves_nothing(
    columns: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    main(["plan", "--config", str(tiny), "--epochs_scale=1.5", "--seed_everything=7", "--model.network.depth=20"])
    text = capsys.readouterr().out
    rows = table(text)
    assert [row["epochs"] for row in rows] == ["1-3", "4-6", "7-9", "9"]
    assert [row["M"] for row in rows[:3]] == ["14", "12_to_8", "random"]
    assert [row["sparsity"] for row in rows[:3]] == ["0.0%", "30.0%", "60.0%"]
    assert rows[2] | {"steps": "24", "images": "3,072", "params": "108,723", "MACs": "1,014,156"} == rows[2]
    assert rows[3] == {"stage": "total", "epochs": "9", "steps": "72", "images": "9,216"}
    together = " ".join(text.split())
    for words in ("CifarResNet", "depth 20", "269,722 parameters", "2,535,040 MACs at 8x8", "128", "seed 7"):
        assert words in together
    assert "digits: 1,149 train, 288 val, 360 test images, 8x8, 10 classes" in together
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= int(columns)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_asks_for_no_device_and_makes_no_logger(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    init = wraps(TensorBoardLogger.__init__)(lambda *args, **kwargs: made.append(args))
    monkeypatch.setattr(TensorBoardLogger, "__init__", init)
    logger = "--trainer.logger={class_path: TensorBoardLogger, init_args: {save_dir: logs}}"
    gpus = ["--trainer.accelerator=cuda", "--trainer.devices=8", "--trainer.strategy=ddp", logger]
    main(["plan", "--config", str(tiny), *gpus])
    assert table(capsys.readouterr().out)[3]["steps"] == "48"
    assert made == []
    assert not torch.distributed.is_initialized()
    assert list(tmp_path.iterdir()) == []


def test_the_widest_numbers_are_not_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"epochs": 100, "sparsity": s, "magnitude": [30, 10], "lr": 0.0125} for s in (0.0, 0.333, 0.999)]
    module = PrunedClassifier(CifarResNet(10, 20, "A"), Stages.parse(rows))
    print_plan(module, ImageData(), Epoch(steps=1251, images=1_281_024))
    text = capsys.readouterr().out
    last = table(text)[2]
    assert last["stage"] == "3"
    assert last | {"epochs": "201-300", "M": "30_to_10", "steps": "125,100", "images": "128.1M"} == last
    assert "…" not in text


def test_a_plan_shows_the_layers_where_a_row_has_auxiliary_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"epochs": 1, "auxiliary": 10}, {"epochs": 1, "auxiliary": 5, "sparsity": 0.5}, {"epochs": 1}]
    module = PrunedClassifier(CifarResNet(10), Stages.parse([*rows[:2], {"epochs": 1, "sparsity": 0.5}]))
    print_plan(module, ImageData(), Epoch(8, 1024))
    said = table(capsys.readouterr().out)
    assert [row["layers"] for row in said[:3]] == ["20+20", "20+10", "20"]
    block = 2 * (9 * 64 * 64 + 2 * 64)  # two convolutions, each with weight and bias of BatchNorm
    weights = 268_336 + 5 * 2 * 9 * 64 * 64
    params = [269_722 + 10 * block, 269_722 + 5 * block - weights // 2, 269_722 - 268_336 // 2]
    assert [int(row["params"].replace(",", "")) for row in said[:3]] == params
    assert int(said[0]["MACs"].replace(",", "")) == 2_535_040 + 10 * 2 * 9 * 64 * 64 * 2 * 2  # 2x2 pixels


def test_without_auxiliary_blocks_there_is_no_column_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(PrunedClassifier(CifarResNet(10, depth=8), Stages.parse([{"epochs": 1}])), ImageData(), Epoch(8, 1024))
    assert "layers" not in table(capsys.readouterr().out)[0]


def test_the_config_that_a_run_leaves_can_be_planned(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    files = sorted(Path().rglob("*"))
    capsys.readouterr()
    main(["plan", "--config", "lightning_logs/version_0/config.yaml", "--ckpt_path=last"])
    text = capsys.readouterr().out
    assert [row["epochs"] for row in table(text)] == ["1-1", "2-2", "3-3", "3"]
    assert "last.ckpt has 3 epochs behind it" in text.replace("\n", "")
    assert sorted(Path().rglob("*")) == files


WRONG = {
    "a falling sparsity": ("--stages=[{epochs: 1, sparsity: 0.4}, {epochs: 1}]", "stage 2: sparsity 0.0 is below"),
    "another length": ("--trainer.max_epochs=3", "trainer.max_epochs is 3, but the stages have 6 epochs"),
    "an unknown network": ("--model.network=CifarResNett", "did you mean CifarResNet"),
    "a module that does not prune": ("--model=Classifier", "does not prune: set model to PrunedClassifier"),
    "a large batch": ("--data.batch_size=2000", "over the 1149 training images"),
    "a batch that cannot be shared": ("--trainer.devices=3", "batch_size 128 cannot be shared by 3 processes"),
    "a missing start": ("--init_from.path=nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
    "a missing checkpoint": ("--ckpt_path=nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
}


@pytest.mark.parametrize(("wrong", "reason"), WRONG.values(), ids=list(WRONG))
def test_a_mistake_is_one_sentence_of_plan(
    wrong: str, reason: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", "--config", str(tiny), wrong])
    assert stop.value.code == 2
    said, errors = capsys.readouterr()
    assert said == ""
    (line,) = [line for line in errors.splitlines() if line.startswith("dasc")]
    assert line.startswith("dasc plan: ")
    assert reason in line
    assert list(tmp_path.iterdir()) == []
