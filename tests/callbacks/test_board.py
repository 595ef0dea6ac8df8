import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dasc.callbacks import AugmentedImages, Board, MagnitudeDecay, StageReport, Timing
from dasc.cli import main
from dasc.data import ImageData
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.command import dasc

RESULTS = ("val_accuracy_last", "val_accuracy_best", "sparsity", "nonzero_parameters")


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        main(["fit", "--config", str(tiny), f"--trainer.default_root_dir={root}"])
    return root / "lightning_logs" / "version_0"


def fit(folder: Path, stages: Stages, epochs: int) -> Path:
    """Train in a plain Trainer, without pruning."""
    callbacks = [MagnitudeDecay(stages), Timing(stages), StageReport(stages), AugmentedImages(stages), Board(stages)]
    trainer = Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder),
        max_epochs=epochs,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
    )
    trainer.fit(Classifier(CifarResNet(10, depth=8), stages), datamodule=ImageData("digits", batch_size=512))
    return folder / "lightning_logs" / "version_0"


def events(run: Path) -> EventAccumulator:
    read = EventAccumulator(str(run), size_guidance={"images": 0})
    read.Reload()
    return read


def curve(run: Path, tag: str) -> list[float]:
    return [event.value for event in events(run).Scalars(tag)]


def layout(run: Path) -> dict[str, dict[str, list[str]]]:
    """The tags of each chart of each category."""
    written = events(run).Tensors("custom_scalars__config__")
    read = Layout.FromString(written[-1].tensor_proto.string_val[0])
    return {
        category.title: {
            chart.title: list(chart.multiline.tag)
            or [tag for series in chart.margin.series for tag in (series.value, series.lower, series.upper)]
            for chart in category.chart
        }
        for category in read.category
    }


def hparams(run: Path) -> dict[str, Any]:
    """The values in the event file that the tab HPARAMS shows."""
    content = events(run).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def tags(page: dict[str, dict[str, list[str]]]) -> set[str]:
    return {tag for charts in page.values() for chart in charts.values() for tag in chart}


def test_accuracy_magnitude_and_sparsity_are_under_each_other_and_then_the_training(run: Path) -> None:
    assert layout(run) == {
        "accuracy": {"accuracy": ["train/accuracy", "val/accuracy"]},
        "magnitude": {"magnitude": ["magnitude"] * 3},
        "sparsity": {"sparsity": ["sparsity"] * 3},
        "training": {
            "loss": ["train/loss", "val/loss"],
            "lr": ["lr"] * 3,
            "images_per_second": ["images_per_second"],
        },
    }
    assert list(layout(run)) == ["accuracy", "magnitude", "sparsity", "training"]
    assert tags(layout(run)) <= set(events(run).Tags()["scalars"])


def test_no_chart_names_what_the_run_never_logs(tmp_path: Path) -> None:
    run = fit(tmp_path, Stages.parse([{"epochs": 1, "magnitude": "random"}, {"epochs": 1}]), 2)
    written = set(events(run).Tags()["scalars"])
    assert not {"magnitude", "sparsity"} & written
    assert tags(layout(run)) <= written
    assert list(layout(run)) == ["accuracy", "training"]


def test_the_hyper_parameters_are_in_the_event_file(run: Path) -> None:
    assert hparams(run) == {
        "batch_size": 128,
        "dataset": "digits",
        "network": "CifarResNet(8, A)",
        "seed": "0",
        "stages": "2x0%@14, 2x30%@12..8, 2x60%@random",
        "training/label_smoothing": 0,
        "training/module": "PrunedClassifier",
        "training/distillation": "none",
        "training/mix": "none",
        "training/optimizer": "class=SGD, lr=0.1, momentum=0.9, weight_decay=0.0005, nesterov=True",
    }
    assert not [path for path in run.iterdir() if path.is_dir() and path.name != "checkpoints"]
    assert len(list(run.parent.rglob("events.out.tfevents*"))) == 1


def test_the_results_beside_them_are_those_of_the_last_stage(run: Path) -> None:
    content = events(run).SummaryMetadata("_hparams_/experiment").plugin_data.content
    metrics = [info.name.tag for info in HParamsPluginData.FromString(content).experiment.metric_infos]
    assert metrics == [f"hparams/{name}" for name in RESULTS]
    last, best, sparsity, nonzero = (curve(run, tag) for tag in metrics)
    accuracy = curve(run, "val/accuracy")
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    parameters = [v for k, v in state.items() if k.startswith("network.") and k.endswith((".weight", ".bias"))]
    zeros = sum(int((v == 0).sum()) for v in parameters if v.dim() > 1)
    assert last == pytest.approx([accuracy[-1]], abs=1e-6)
    assert best == pytest.approx([max(accuracy[4:])], abs=1e-6)
    assert sparsity == pytest.approx([zeros / sum(v.numel() for v in parameters if v.dim() > 1)], abs=1e-6)
    assert nonzero == [sum(v.numel() for v in parameters) - zeros]
    assert [event.step for tag in metrics for event in events(run).Scalars(tag)] == [5] * 4


def test_a_row_of_the_table_says_what_it_names(tmp_path: Path) -> None:
    rows = [{"epochs": 1, "lr": 0.05}, {"epochs": 2, "magnitude": [3, 1]}, {"epochs": 1, "magnitude": 0, "lr": 1e-3}]
    run = fit(tmp_path, Stages.parse(rows), 4)
    assert hparams(run)["stages"] == "1x0%@none lr 0.05, 2x0%@3..1, 1x0%@0 lr 0.001"
    assert hparams(run)["training/module"] == "Classifier"
    assert curve(run, "hparams/sparsity") == [0]


def test_a_run_that_stops_before_its_table_ends_has_no_hyper_parameters(tmp_path: Path) -> None:
    run = fit(tmp_path, Stages.parse([{"epochs": 1}, {"epochs": 2}]), 2)
    with (run / "stages.csv").open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["1"]
    assert not [tag for tag in events(run).Tags()["scalars"] if tag.startswith("hparams/")]
    assert "_hparams_/session_start_info" not in events(run).summary_metadata


def test_a_killed_and_continued_run_reads_as_an_unbroken_one(run: Path, tiny: Path, tmp_path: Path) -> None:
    command = ("fit", "--config", tiny, "--trainer.default_root_dir", tmp_path)
    # in the first epoch of the second stage: its grid is written again from the checkpoint of the boundary
    killed = dasc(*command, "--trainer.callbacks+=killing.KillAt", "--trainer.callbacks.step", 20)
    assert killed.returncode != 0
    done = dasc(*command, "--ckpt_path", "last")
    assert done.returncode == 0, done.stderr
    continued = tmp_path / "lightning_logs" / "version_0"
    assert len(list(continued.parent.rglob("events.out.tfevents*"))) == 2
    assert layout(continued) == layout(run)
    assert hparams(continued) == hparams(run)
    assert all(curve(continued, f"hparams/{name}") == curve(run, f"hparams/{name}") for name in RESULTS)
    for stage, step in ((1, 0), (2, 2), (3, 4)):
        tag = f"augmented/stage-{stage}"
        unbroken = events(run).Images(tag)
        assert [event.step for event in unbroken] == [step]
        grids = {(event.step, event.encoded_image_string) for event in events(continued).Images(tag)}
        assert grids == {(step, unbroken[0].encoded_image_string)}
