"""A column that is defined in this file is one everywhere: plan, progress bar, files, TensorBoard, checkpoint."""

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc import checkpoint
from dasc.callbacks.context import log_epoch
from dasc.cli import main
from dasc.errors import UserError
from dasc.stages import COLUMNS, Column, Stage, Stages, at_boundary
from dasc.stages.column import is_number
from tests.callbacks.test_board import hparams, layout
from tests.support.errors import exit_message

SEEN: list[tuple[int, float]] = []


class Smoothing(Column):
    """Label smoothing during a stage."""

    name = title = "smoothing"
    default = 0.0
    remedy = "write a number from 0 to below 1"
    default_text = "0"
    help = "smoothing, 0 to below 1"
    callback = "tests.test_new_column.SetSmoothing"

    def is_valid(self, value: Any) -> bool:
        return is_number(value) and 0 <= value < 1

    def conflict(self, before: Any, value: Any) -> str:
        return "" if value <= before else f"smoothing {value} is over the {before} of the stage before it"

    def is_curve(self, values: Any) -> bool:
        return any(value > 0 for value in values)


class SetSmoothing(Callback):
    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.label_smoothing = self._stages.value("smoothing", trainer.current_epoch)
        SEEN.append((trainer.current_epoch, float(pl_module.label_smoothing)))  # type: ignore[arg-type]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log_epoch(pl_module, "smoothing", self._stages.value("smoothing", trainer.current_epoch))


ROWS = "--stages=[{epochs: 2, smoothing: 0.3}, {epochs: 1, smoothing: 0.1, sparsity: 0.2}, {epochs: 1, sparsity: 0.2}]"
RUN = Path("lightning_logs/version_0")


@pytest.fixture(autouse=True)
def column(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(COLUMNS, "smoothing", Smoothing())
    monkeypatch.chdir(tmp_path)
    SEEN.clear()


def test_it_is_parsed_checked_and_dumped() -> None:
    stages = Stages.parse([{"epochs": 1, "smoothing": 0.3}, {"epochs": 1}])
    assert stages.column("smoothing") == [0.3, 0.0]
    assert stages.dump() == [{"epochs": 1, "smoothing": 0.3}, {"epochs": 1}]
    assert stages[0] != Stage(epochs=1)
    assert [column.name for column in at_boundary()][:3] == ["auxiliary", "channels", "sparsity"]
    for rows, said in (
        ([{"epochs": 1, "smoothing": 1.0}], "stage 1: smoothing is 1.0: write a number from 0 to below 1"),
        ([{"epochs": 1, "smoothing": None}], "stage 1: smoothing is empty: write a number from 0 to below 1, or leave"),
        ([{"epochs": 1}, {"epochs": 1, "smoothing": 0.1}], "stage 2: smoothing 0.1 is over the 0.0 of the stage"),
    ):
        with pytest.raises(UserError) as raised:
            Stages.parse(rows)
        assert str(raised.value).startswith(said)


def test_the_plan_and_the_help_show_it(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--config", str(tiny), ROWS])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = next(k for k, words in enumerate(lines) if words[:1] == ["stage"])
    place = lines[start].index("smoothing")
    assert [words[place] for words in lines[start + 1 : start + 4]] == ["0.3", "0.1", "0.0"]
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "smoothing, 0 to below 1" in " ".join(capsys.readouterr().out.split())


def test_a_run_applies_shows_and_records_it(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(tiny), ROWS, "--trainer.enable_progress_bar=true"])
    said = capfd.readouterr()
    assert SEEN == [(0, 0.3), (1, 0.3), (2, 0.1), (3, 0.0)]
    line = next(line for line in said.out.splitlines() if line.startswith("stage 2/3, epoch 3/4: "))
    assert ", sparsity 0.2, M none, smoothing 0.1, " in line
    assert "smoothing" in said.out
    with (RUN / "stages.csv").open() as file:
        assert [row["smoothing"] for row in csv.DictReader(file)] == ["0.3", "0.1", "0.0"]
    read = EventAccumulator(str(RUN))
    read.Reload()
    assert [event.value for event in read.Scalars("smoothing")] == pytest.approx([0.3, 0.3, 0.1, 0.0])
    assert layout(RUN)["smoothing"] == {"smoothing": ["smoothing"] * 3}
    assert hparams(RUN)["stages"] == "2x0%@none smoothing 0.3, 1x20%@none smoothing 0.1, 1x20%@none"
    recorded = checkpoint.read(RUN / "checkpoints" / "last.ckpt")["dasc"]
    assert [row.get("smoothing") for row in recorded["stages"]] == [0.3, 0.1, None]


def test_a_checkpoint_is_compared_by_it(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(tiny), "--stages=[{epochs: 1, smoothing: 0.3}]"])
    capsys.readouterr()
    words = ["fit", "--config", str(tiny), f"--ckpt_path={RUN}/checkpoints/last.ckpt"]
    said = exit_message([*words, "--stages=[{epochs: 1, smoothing: 0.2}, {epochs: 1}]"], capsys)
    assert "row 1 of stages is {'epochs': 1, 'smoothing': 0.2}, recorded is {'epochs': 1, 'smoothing': 0.3}" in said
