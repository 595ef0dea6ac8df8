from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn
from torch.optim import Optimizer

from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.stages import Stages, lr_at


def quiet(epochs: int, **settings: Any) -> Trainer:
    base: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": epochs,
    }
    return Trainer(**(base | settings))


def network() -> CifarResNet:
    torch.manual_seed(0)
    return CifarResNet(10, depth=8)


def digits(eval_batch_size: int = 100) -> ImageData:
    return ImageData("digits", batch_size=128, eval_batch_size=eval_batch_size)


@torch.no_grad()
def outputs(module: Classifier, data: ImageData, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    parts = list(batches)
    images, targets = torch.cat([part.images for part in parts]), torch.cat([part.targets for part in parts])
    return module.network.eval()(data.pipeline.normalise(images)), targets


def log_softmax(logits: Tensor) -> Tensor:
    logits = logits.double()
    exponentials = (logits - logits.max(1, keepdim=True).values).exp()
    return (exponentials / exponentials.sum(1, keepdim=True)).log()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_with_the_smoothed_target(smoothing: float) -> None:
    module = Classifier(network().eval(), Stages.parse([{"epochs": 1}]), label_smoothing=smoothing)
    images, targets = torch.randn(40, 3, 8, 8), torch.arange(40) % 10
    values = module.loss(Batch(images, targets, torch.arange(40), 0))
    logs = log_softmax(module.network(images).detach())
    total = 0.0
    for row, target in zip(logs.tolist(), targets.tolist(), strict=True):
        share = [smoothing / 10 + (1 - smoothing) * (k == target) for k in range(10)]
        total -= sum(q * log for q, log in zip(share, row, strict=True))
    assert values["loss"].item() == pytest.approx(total / 40, rel=1e-5)
    hits = sum(row.index(max(row)) == target for row, target in zip(logs.tolist(), targets.tolist(), strict=True))
    assert values["accuracy"].item() == pytest.approx(hits / 40)


class Recording(Classifier):
    def __init__(self, stages: Stages) -> None:
        super().__init__(network(), stages)
        self.seen: list[tuple[float, float]] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        values = super().loss(batch)
        self.seen.append((values["loss"].item(), values["accuracy"].item()))
        return values


class Curves(Logger):
    def __init__(self) -> None:
        super().__init__()
        self.points: dict[str, list[tuple[int | None, float]]] = {}

    @property
    def name(self) -> str:
        return "curves"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.points.setdefault(name, []).append((step, value))


def test_training_loss_and_accuracy_are_logged_as_each_epochs_mean_over_its_batches() -> None:
    module, curves = Recording(Stages.parse([{"epochs": 2}])), Curves()
    quiet(2, limit_train_batches=5, logger=curves, log_every_n_steps=1).fit(module, datamodule=digits())
    epochs = module.seen[:5], module.seen[5:]
    assert len(module.seen) == 10
    for place, name in enumerate(("train/loss", "train/accuracy")):
        means = [sum(values[place] for values in epoch) / 5 for epoch in epochs]
        assert [value for _, value in curves.points[name]] == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize("name", ["train/loss", "train/accuracy", "lr", "val/loss", "val/accuracy"])
def test_every_curve_of_a_fit_has_one_point_an_epoch_at_the_epochs_number(name: str) -> None:
    module, curves = Classifier(network(), Stages.parse([{"epochs": 3}])), Curves()
    trainer = quiet(3, limit_train_batches=2, logger=curves, log_every_n_steps=1)
    trainer.fit(module, datamodule=digits())
    assert [step for step, _ in curves.points[name]] == [0, 1, 2]


def test_an_epoch_is_in_the_file_of_a_csv_logger_when_it_ends(tmp_path: Path) -> None:
    logger, seen = CSVLogger(tmp_path), list[str]()

    class ReadFile(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            path = Path(logger.log_dir) / "metrics.csv"
            seen.append(path.read_text() if path.is_file() else "")

    module = Classifier(network(), Stages.parse([{"epochs": 3}]))
    trainer = quiet(3, limit_train_batches=1, logger=logger, callbacks=[ReadFile()], log_every_n_steps=1)
    trainer.fit(module, datamodule=digits())
    assert [len(text.splitlines()) for text in seen] == [0, 2, 3]  # with the header


def test_the_learning_rate_that_is_logged_is_that_of_the_epochs_first_step() -> None:
    stages, curves = Stages.parse([{"epochs": 2}, {"epochs": 2, "lr": 0.03}]), Curves()
    trainer = quiet(4, limit_train_batches=3, limit_val_batches=0, logger=curves, log_every_n_steps=1)
    trainer.fit(Classifier(network(), stages), datamodule=digits())
    expected = [lr_at(stages, 3 * epoch, 3, 0.1) for epoch in range(4)]
    assert [value for _, value in curves.points["lr"]] == pytest.approx(expected)


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.seen.append(float(optimizer.param_groups[0]["lr"]))


def sgd(parameters: Any) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def adamw(parameters: Any) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=0.002)


@pytest.mark.parametrize(
    ("optimizer", "kind", "peak"), [(sgd, torch.optim.SGD, 0.1), (adamw, torch.optim.AdamW, 0.002)]
)
def test_every_step_has_the_tables_learning_rate_and_each_stage_starts_anew(
    optimizer: Callable[[Any], Optimizer], kind: type[Optimizer], peak: float
) -> None:
    stages = Stages.parse([{"epochs": 3}, {"epochs": 2, "lr": 0.03}])
    module, rates = Classifier(network(), stages, optimizer=optimizer), Rates()
    before = [parameter.detach().clone() for parameter in module.network.parameters()]
    trainer = quiet(5, limit_train_batches=4, limit_val_batches=0, callbacks=[rates])
    trainer.fit(module, datamodule=digits())
    assert rates.seen == pytest.approx([lr_at(stages, step, 4, peak) for step in range(20)])
    # stage 1: 12 steps, 2 of them warm-up; stage 2: 8 steps, 1 of them warm-up
    assert rates.seen[:3] == pytest.approx([peak / 3, 2 * peak / 3, peak])
    assert rates.seen[11] < peak * 0.03
    assert rates.seen[12:14] == pytest.approx([0.015, 0.03])
    assert type(trainer.optimizers[0]) is kind
    assert all(not torch.equal(old, new) for old, new in zip(before, module.network.parameters(), strict=True))


def test_validation_accuracy_and_loss_are_those_of_a_hand_count_over_all_images() -> None:
    module, data = Classifier(network(), Stages.parse([{"epochs": 2}])), digits()
    trainer = quiet(2, limit_train_batches=4)
    trainer.fit(module, datamodule=data)
    logits, targets = outputs(module, data, data.val_dataloader())
    hits = sum(row.index(max(row)) == target for row, target in zip(logits.tolist(), targets.tolist(), strict=True))
    nll = -sum(float(row[k]) for row, k in zip(log_softmax(logits), targets.tolist(), strict=True))
    assert len(targets) == 288
    assert float(trainer.callback_metrics["val/accuracy"]) == pytest.approx(hits / 288, rel=1e-6)
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(nll / 288, rel=1e-5)


def test_validate_alone_gives_the_numbers_of_the_fits_last_validation() -> None:
    module, data = Classifier(network(), Stages.parse([{"epochs": 1}])), digits()
    trainer = quiet(1, limit_train_batches=4)
    trainer.fit(module, datamodule=data)
    fitted = {name: float(trainer.callback_metrics[name]) for name in ("val/accuracy", "val/loss")}
    assert quiet(1).validate(module, datamodule=data, verbose=False) == [pytest.approx(fitted)]


def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> float:
    confidence, guess = probabilities.double().max(1)
    error = 0.0
    for bin_ in range(bins):
        inside = (confidence >= bin_ / bins) & (confidence < (bin_ + 1) / bins if bin_ < bins - 1 else confidence <= 1)
        if inside.any():
            accuracy = (guess[inside] == targets[inside]).double().mean()
            error += float(inside.double().mean() * (accuracy - confidence[inside].mean()).abs())
    return error


def test_test_metrics_are_accuracy_likelihood_and_calibration_counted_by_hand() -> None:
    module, data = Classifier(network(), Stages.parse([{"epochs": 1}])), digits()
    quiet(1).fit(module, datamodule=data)
    with torch.no_grad():
        for name in ("fc.weight", "fc.bias"):  # then it is too sure in some bins and not sure enough in others
            module.network.get_parameter(name).mul_(8)
    (values,) = quiet(1).test(module, datamodule=data, verbose=False)
    logits, targets = outputs(module, data, data.test_dataloader())
    assert set(values) > {"test/accuracy", "test/nll", "test/ece"}
    assert values["test/accuracy"] == pytest.approx(int((logits.argmax(1) == targets).sum()) / 360, rel=1e-6)
    nll = -float(log_softmax(logits).gather(1, targets[:, None]).mean())
    assert values["test/nll"] == pytest.approx(nll, rel=1e-5)
    ece = expected_calibration_error(logits.softmax(1), targets)
    assert abs(ece - expected_calibration_error(logits.softmax(1), targets, bins=10)) > 1e-3
    assert values["test/ece"] == pytest.approx(ece, abs=1e-5)


def test_a_second_test_starts_its_metrics_anew() -> None:
    module, data = Classifier(network(), Stages.parse([{"epochs": 1}])), digits()
    trainer = quiet(1)
    first = trainer.test(module, datamodule=data, verbose=False)
    with torch.no_grad():
        module.network.get_parameter("fc.bias")[3] += 100
    (second,) = trainer.test(module, datamodule=data, verbose=False)
    _, targets = outputs(module, data, data.test_dataloader())
    assert second["test/accuracy"] == pytest.approx(int((targets == 3).sum()) / 360)
    assert first != [second]


def test_a_test_computes_the_metrics_that_are_named() -> None:
    module = Classifier(network(), Stages.parse([{"epochs": 1}]))
    module.metric_names = ["nll", "teacher_stddev"]
    (values,) = quiet(1).test(module, datamodule=digits(), verbose=False)
    assert list(values) == ["test/nll", "test/teacher_stddev"]
    module.metric_names = ["accuracy", "nl"]
    with pytest.raises(UserError, match="unknown metric 'nl': did you mean nll"):
        quiet(1).test(module, datamodule=digits(), verbose=False)


def test_predictions_are_the_probabilities_of_every_test_image_in_order() -> None:
    module, data = Classifier(network(), Stages.parse([{"epochs": 1}])), digits()
    batches = quiet(1).predict(module, datamodule=data)
    assert batches is not None
    probabilities = torch.cat([batch for batch in batches if isinstance(batch, Tensor)])
    logits, _ = outputs(module, data, data.test_dataloader())
    assert probabilities.shape == (360, 10)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(1), torch.ones(360), atol=1e-6)
    assert torch.allclose(probabilities.double(), log_softmax(logits).exp(), atol=1e-6)


class Noisy(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.linear = nn.Linear(192, num_classes)
        self.drawn: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.drawn.append(torch.rand(()).item())
        logits: Tensor = self.linear(images.flatten(1))
        return logits


def test_what_the_network_draws_depends_on_seed_and_epoch_and_not_on_the_state_before() -> None:
    def drawn(torch_seed: int) -> list[float]:
        module = Noisy(10)
        torch.manual_seed(torch_seed)
        trainer = quiet(2, limit_train_batches=2, limit_val_batches=0)
        trainer.fit(Classifier(module, Stages.parse([{"epochs": 2}])), datamodule=digits())
        return module.drawn

    assert drawn(1) == drawn(2)
    assert len(set(drawn(1))) == 4


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (
            [{"epochs": 1}, {"epochs": 1, "sparsity": 0.5}],
            {},
            "stages ask for sparsity 0.5, but Classifier does not prune: set model to PrunedClassifier",
        ),
        (
            [{"epochs": 1}],
            {"recalibrate": -1},
            "recalibrate is -1: write a number of batches, or 0 to leave BatchNorm alone",
        ),
        ([{"epochs": 1}], {"label_smoothing": 1.0}, "label_smoothing is 1.0: write a number from 0 to below 1"),
        ([{"epochs": 1}], {"label_smoothing": -0.1}, "label_smoothing is -0.1: write a number from 0 to below 1"),
    ],
)
def test_what_a_classifier_cannot_do_is_refused_in_one_sentence(
    table: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as raised:
        Classifier(network(), Stages.parse(table), **settings)
    assert str(raised.value) == message


def test_a_loss_that_is_not_a_number_is_not_left_out_of_the_mean() -> None:
    loss = Classifier(network(), Stages.parse([{"epochs": 1}])).val_metrics["loss"]
    loss.update(torch.tensor([1.0, torch.nan]))
    assert torch.isnan(loss.compute())
