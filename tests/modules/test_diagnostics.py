"""What `trainer.test` says of a classifier: the numbers of the metrics, fed by hand with all test images at once."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dasc.data import Batch, ImageData
from dasc.metrics import ClassDiscrimination, TeacherStddev
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.training import bare_trainer

VIEWS = 5
LOGGED = {"accuracy", "nll", "ece", "class_discrimination", "latent_discrimination", "teacher_stddev"}


class AllConvolutional(nn.Module):
    """The mean over the image of a convolution's outputs."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, num_classes, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.conv(images).mean((2, 3))
        return logits


def resnet() -> CifarResNet:
    """A network whose answers are neither all alike nor sure."""
    torch.manual_seed(0)
    network = CifarResNet(10, depth=8)
    images = whole_test().images
    for _ in range(30):
        network(images)  # statistics of BatchNorm that are those of the images
    nn.init.normal_(network.fc.weight, std=1.0)
    return network


def logged_by(network: nn.Module, eval_batch_size: int = 100, **settings: Any) -> Mapping[str, float]:
    module = Classifier(network, Stages.parse([{"epochs": 1}]))
    data = ImageData("digits", eval_batch_size=eval_batch_size, **settings)
    (logged,) = bare_trainer().test(module, datamodule=data, verbose=False)
    return {name.removeprefix("test/"): value for name, value in logged.items() if name.startswith("test/")}


def data_in_test(**settings: Any) -> ImageData:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    state = SimpleNamespace(
        training=False, testing=True, current_epoch=0, global_rank=0, world_size=1, strategy=strategy
    )
    data = ImageData("digits", eval_batch_size=360, **settings)
    data.trainer = cast(Trainer, state)
    data.setup("test")
    return data


def whole_test(**settings: Any) -> Batch:
    data = data_in_test(**settings)
    (batch,) = data.test_dataloader()
    assert len(batch.targets) == 360
    return data.on_after_batch_transfer(batch, 0)


def penultimate(network: CifarResNet, images: Tensor) -> Tensor:
    x = torch.relu(network.bn1(network.conv1(images)))
    features: Tensor = network.layer3(network.layer2(network.layer1(x))).mean((2, 3))
    return features


@torch.no_grad()
def discrimination(outputs: Tensor, targets: Tensor, **settings: Any) -> float:
    metric = ClassDiscrimination(10, **settings)
    metric.update(outputs, targets)
    return metric.compute().item()


@torch.no_grad()
def stddev(network: nn.Module, **settings: Any) -> float:
    data, batch = data_in_test(**settings), whole_test(**settings)
    metric = TeacherStddev(10, VIEWS)
    for view in range(VIEWS):
        metric.update(network(data.pipeline.test_view(batch, view)), view)
    return metric.compute().item()


@pytest.mark.parametrize("eval_batch_size", [50, 360])
def test_a_test_logs_the_metrics_of_all_test_images_at_once(eval_batch_size: int) -> None:
    network = resnet()
    logged = logged_by(network, eval_batch_size)
    assert set(logged) == LOGGED
    batch = whole_test()
    network.eval()
    with torch.no_grad():
        logits, features = network(batch.images), penultimate(network, batch.images)
    latent = discrimination(features, batch.targets, reading="latent", num_features=64)
    assert logged["class_discrimination"] == pytest.approx(discrimination(logits, batch.targets), rel=1e-4)
    assert logged["latent_discrimination"] == pytest.approx(latent, rel=1e-4)
    assert logged["teacher_stddev"] == pytest.approx(stddev(network), rel=1e-4)
    shares = logits.double().softmax(1)
    own = shares[torch.arange(360), batch.targets]
    assert logged["nll"] == pytest.approx(-float(own.log().mean()), rel=1e-5)
    assert logged["accuracy"] == pytest.approx(float((logits.argmax(1) == batch.targets).double().mean()))
    # the readings differ, so that none is logged under another's name
    assert len({round(value, 4) for value in logged.values()}) == len(LOGGED)


def test_a_test_logs_the_calibration_error_of_15_bins() -> None:
    network = resnet()
    logged = logged_by(network)
    batch = whole_test()
    with torch.no_grad():
        confidence, said = network.eval()(batch.images).softmax(1).double().max(1)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for sure, hit in zip(confidence.tolist(), (said == batch.targets).tolist(), strict=True):
        bins.setdefault(min(int(sure * 15), 14), []).append((sure, hit))
    assert len(bins) > 5
    gaps = [abs(sum(sure for sure, _ in part) - sum(hit for _, hit in part)) for part in bins.values()]
    assert logged["ece"] == pytest.approx(sum(gaps) / 360, abs=1e-5)


def test_views_are_augmented_as_training_images_are() -> None:
    settings: dict[str, Any] = {"cutout": 4, "flip": True, "crop": "none"}
    network = resnet()
    logged = logged_by(network, **settings)
    assert logged["teacher_stddev"] == pytest.approx(stddev(network.eval(), **settings), rel=1e-4)
    assert logged["teacher_stddev"] != pytest.approx(stddev(network), rel=1e-2)
    plain = logged_by(network)
    assert {k: v for k, v in logged.items() if k != "teacher_stddev"} == {
        k: v for k, v in plain.items() if k != "teacher_stddev"
    }


def test_neither_seed_nor_magnitude_changes_what_a_test_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    network = resnet()
    logged = logged_by(network)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    torch.manual_seed(9)
    assert logged_by(network, magnitude=20) == logged


def test_a_second_test_of_a_module_starts_anew() -> None:
    module = Classifier(resnet(), Stages.parse([{"epochs": 1}]))
    trainer, data = bare_trainer(), ImageData("digits", eval_batch_size=100)
    first = trainer.test(module, datamodule=data, verbose=False)
    assert trainer.test(module, datamodule=data, verbose=False) == first


def test_a_network_without_a_linear_layer_has_no_latent_discrimination() -> None:
    torch.manual_seed(0)
    network = AllConvolutional(10)
    logged = logged_by(network)
    assert set(logged) == LOGGED - {"latent_discrimination"}
    batch = whole_test()
    with torch.no_grad():
        logits = network(batch.images)
    assert logged["class_discrimination"] == pytest.approx(discrimination(logits, batch.targets), rel=1e-4)
    assert logged["teacher_stddev"] == pytest.approx(stddev(network), rel=1e-4)


class OneBatch(Dataset[Batch]):
    def __getitem__(self, place: int) -> Batch:
        return whole_test()

    def __len__(self) -> int:
        return 1


def test_other_data_than_image_data_is_tested_without_views() -> None:
    network = resnet()
    module = Classifier(network, Stages.parse([{"epochs": 1}]))
    (logged,) = bare_trainer().test(module, DataLoader(OneBatch(), batch_size=None), verbose=False)
    assert logged["test/accuracy"] == pytest.approx(logged_by(network)["accuracy"])
    assert "test/teacher_stddev" not in logged
