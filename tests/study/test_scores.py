"""Scores of a study's networks: those of `dasc test`, and the cross entropy of Eq. 3."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasc import checkpoint
from dasc.augment import RandAugment, draw
from dasc.cli import main
from dasc.data import BatchPipeline, ImageData
from dasc.errors import StoppedError
from dasc.metrics import METRICS
from dasc.networks import CifarResNet
from dasc.seeding import Stream, mix
from dasc.study.analysis.figures.bars import BarsFigure
from dasc.study.analysis.results import write_results
from dasc.study.execution.scores import augmented_loss, score_network, scoring_trainer
from dasc.study.folders import RESULT, run_folder, write_json
from dasc.study.plan import Plan, Run
from tests.support.results import read_results, results
from tests.support.toy_metric import LARGEST_LOGIT


def network() -> CifarResNet:
    torch.manual_seed(3)
    return CifarResNet(10, depth=8)


def score(network: nn.Module, precision: str = "32-true", **settings: Any) -> dict[str, float]:
    return score_network(scoring_trainer("cpu", precision), network, ImageData("digits", **settings))


@torch.no_grad()
def answers(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the logits and targets of all test images."""
    data = ImageData("digits", eval_batch_size=400)
    data.setup("test")
    (batch,) = data.test_dataloader()
    return network.eval()(data.pipeline.normalise(batch.images)), batch.targets


def test_the_scores_of_the_test_images_are_those_of_a_plain_loop() -> None:
    scores = score(network(), eval_batch_size=100)
    assert list(scores) == ["accuracy", "nll", "ece"]
    logits, targets = answers(network())
    assert len(targets) == 360
    assert scores["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()))
    assert scores["nll"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-5)
    confidence, guess = logits.softmax(1).max(1)
    bins = (confidence * 15).long().clamp(max=14)
    gaps = [((guess == targets).float() - confidence)[bins == b].sum().abs() for b in range(15)]
    assert scores["ece"] == pytest.approx(float(sum(gaps)) / len(targets), abs=1e-5)


def test_the_scores_equal_those_of_dasc_test_on_the_same_checkpoint(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["fit", "--config", str(tiny), "--stages=[{epochs: 1, magnitude: 4}]", "--trainer.limit_train_batches=4"])
    path = Path("lightning_logs/version_0/checkpoints/last.ckpt")
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=log", "--trainer.logger.name=test"]
    main(["test", "--config", str(tiny), f"--ckpt_path={path}", *logger])
    with next(Path("log").glob("**/metrics.csv")).open() as file:
        (logged,) = csv.DictReader(file)
    assert {name for name in logged if name.startswith("test/")} == {f"test/{name}" for name in METRICS}
    monkeypatch.delattr(BatchPipeline, "test_view")  # a study does not augment test images
    for eval_batch_size, exact in ((1024, True), (50, False)):
        scores = score(checkpoint.load_network(path).network, eval_batch_size=eval_batch_size)
        expected = {name: float(logged[f"test/{name}"]) for name in scores}
        assert scores == (expected if exact else pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize(("precision", "error"), [("bf16-mixed", 1e-2), ("bf16-true", 1e-2), ("64-true", 1e-5)])
def test_every_precision_gives_about_the_same_scores(precision: str, error: float) -> None:
    whole, other = score(network()), score(network(), precision)
    assert other["nll"] == pytest.approx(whole["nll"], rel=error)
    losses = [
        augmented_loss(scoring_trainer("cpu", p), network(), ImageData("digits", train_size=300), 9, 1)
        for p in ("32-true", precision)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=error)


def test_a_network_without_num_classes_is_scored_with_the_classes_of_the_data() -> None:
    scores = score(Brightness())
    logits, targets = answers(Brightness())
    assert scores["nll"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-5)


class Brightness(nn.Module):
    """Says a class by the mean of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3), keepdim=True)[:, :, 0, 0] * torch.arange(10.0)


def test_the_loss_of_eq_3_is_the_mean_over_draws_of_randaugment_alone() -> None:
    data, network = ImageData("digits", train_size=300, eval_batch_size=50), Brightness()
    found = augmented_loss(scoring_trainer("cpu", "32-true"), network, data, 9, 2)
    (batches,) = [list(data.val_dataloader())]
    assert len(batches) > 1
    images, targets = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "targets"))
    randaugment = RandAugment(8, 8)
    losses = []
    for view in range(2):
        draws = draw(len(images), torch.Generator().manual_seed(mix(Stream.EVALUATION, view)))
        augmented = data.pipeline.normalise(randaugment(images, draws, 9))
        losses.append(float(F.cross_entropy(network(augmented), targets)))
    assert found == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-4


class Stopped(nn.Module):
    """Interrupts the process in its forward pass."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, images: Tensor) -> Tensor:
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        os.kill(os.getpid(), self.number)
        return torch.zeros(len(images), 10)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_scoring(number: int, status: int) -> None:
    with pytest.raises(StoppedError) as raised:
        score(Stopped(number))
    assert raised.value.code == status


def test_a_metric_of_ones_own_is_in_the_scores_the_results_and_the_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(METRICS, "largest_logit", LARGEST_LOGIT)
    scores = score(network())
    logits, _ = answers(network())
    assert scores["largest_logit"] == pytest.approx(logits.max().item(), rel=1e-6)
    runs = [Run(name, name, seed=0, labels={"scheme": name}) for name in ("old", "new")]
    rows = [
        {"stage": 1, "sparsity_asked": 0.0, "magnitude": "4", "val_accuracy_last": 0.5, "test_accuracy": 0.25},
        {"stage": 1, "sparsity_asked": 0.0, "magnitude": "4", "val_accuracy_last": 0.5, "test_largest_logit": 3.25},
    ]
    for run, row in zip(runs, rows, strict=True):
        run_folder(tmp_path, run.id).mkdir(parents=True)
        write_json(run_folder(tmp_path, run.id) / RESULT, {"rows": [row], "timing": {}})
    axes = {"scheme": ["old", "new"]}
    write_results(Plan("x", "", axes, runs), tmp_path)
    old, new = read_results(tmp_path / "results.csv")
    metrics = ["test_accuracy", "test_nll", "test_ece", "test_largest_logit"]
    assert list(old)[-6:] == [*metrics, "final", "test_images"]
    assert (old["test_accuracy"], old["test_largest_logit"]) == (0.25, None)  # a run from before the metric
    assert new["test_largest_logit"] == 3.25
    (table,) = BarsFigure(bars="scheme", metric="test_largest_logit").tables(results([old, new], axes), axes, {})
    shown = {row[0]: row[table.header.index("test largest")] for row in table.rows}
    assert shown == {"old": "-", "new": "32.5"}
