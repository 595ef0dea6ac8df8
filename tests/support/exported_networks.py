"""Networks to export, and what their files have to compute."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dasc.data.pipeline import BatchPipeline, PipelineConfig
from dasc.export.format import Model, Run
from dasc.networks import (
    CifarMobileNetV2,
    CifarResNet,
    CifarShuffleNetV2,
    TorchvisionNetwork,
    set_auxiliary_blocks,
)
from tests.support.exported import images_of, model_of


class Tiny(nn.Module):
    """A network that is exported in a moment."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))
        return logits


class Branching(Tiny):
    """A network that no exporter can trace: a value decides the path."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else -images)


def with_dropped_blocks() -> nn.Module:
    network = CifarResNet(10, depth=8)
    set_auxiliary_blocks(network, 2)
    set_auxiliary_blocks(network, 0)
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ResNet20-A": (lambda: CifarResNet(10, depth=20), 32),
    "dropped blocks": (with_dropped_blocks, 32),
    "ResNet20-B": (lambda: CifarResNet(10, depth=20, shortcut="B"), 32),
    "blocks": (lambda: _with_blocks(CifarResNet(10, depth=8)), 28),
    "MobileNetV2": (lambda: CifarMobileNetV2(10), 32),
    "ShuffleNetV2": (lambda: CifarShuffleNetV2(10), 32),
    "resnet18": (lambda: TorchvisionNetwork(10, "resnet18"), 64),
}

QUICK = (("blocks", False), ("dropped blocks", True))
"""Networks, and whether normalisation and softmax are in the file, that are not slow."""


def _with_blocks(network: nn.Module) -> nn.Module:
    set_auxiliary_blocks(network, 1)
    return network


def cases(preprocess: tuple[bool, ...] = (False, True)) -> list[Any]:
    """All networks as parameters of a fixture: the name, and whether normalisation and softmax are in the file."""
    pairs = [(name, before) for name in NETWORKS for before in preprocess]
    return [
        pytest.param(pair, id=f"{pair[0]}{' preprocess' * pair[1]}", marks=[] if pair in QUICK else [pytest.mark.slow])
        for pair in pairs
    ]


def make(name: str, preprocess: bool) -> Model:
    """Return a network as a model; its outputs differ between images."""
    factory, size = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_of(factory(), size, preprocess, sparsity=0.5)
    for module in model.network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.mul_(3)  # the variance stays about the same from layer to layer
    return model


def check_outputs(model: Model, run: Run, preprocess: bool) -> None:
    """Compare the outputs of a file, for batches of 1, 2 and 7, with those of the network in float64."""
    network = copy.deepcopy(model.network).double()
    form = model.metadata.input_format
    pipeline = BatchPipeline(PipelineConfig(form.image_size, form.mean, form.std, 10), {}, dtype=torch.float64)
    for batch in (1, 2, 7):
        images = images_of(model, batch)
        with torch.no_grad():
            if preprocess:
                expected = network(pipeline.normalise(images)).softmax(1)
            else:
                expected = network(images.double())
        actual = run(images)
        assert actual.dtype == torch.float32
        assert actual.shape == (batch, 10)
        torch.testing.assert_close(actual.double(), expected, atol=1e-5, rtol=1e-5)
    assert expected.std(0).max() > 5e-4  # another image would not pass
