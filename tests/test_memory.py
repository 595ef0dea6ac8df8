"""The memory that a training takes is known before it starts."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import dasc.cli.fit as fit_module
import dasc.cli.plan as plan_module
from dasc.cli import main
from dasc.data import ImageData
from dasc.machine import available_memory
from dasc.memory import Device, Memory, bytes_text, estimate
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet
from dasc.stages import Stages

TABLES = 5 * 62 * 4  # bytes for each pixel: five operations, 31 bins and two signs, int32


class Small(nn.Module):
    """One convolution without bias, ReLU, mean, one linear layer."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(images).relu().mean((2, 3)))
        return logits


class NotOnMeta(Small):
    """A network whose shapes depend on values."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.isfinite().all().item()
        return super().forward(images)


def module(network: nn.Module, kind: type[Classifier] = Classifier, **settings: Any) -> Classifier:
    return kind(network, Stages.parse([{"epochs": 1}]), **settings)


def test_a_small_network_takes_what_is_computed_by_hand() -> None:
    memory = estimate(module(Small()), ImageData(batch_size=128, eval_batch_size=72))
    parameters = 4 * (4 * 3 * 9 + 4 * 10 + 10)
    assert (memory.weights, memory.gradients, memory.optimizer) == (parameters,) * 3  # SGD has one momentum
    assert memory.images == (1149 + 288) * 3 * 8 * 8
    assert memory.tables == TABLES * 64
    pixels, channels = 8 * 8, 4
    # ReLU needs its result, the convolution its input; the convolution's own result is freed after ReLU
    assert memory.training == 4 * 128 * (3 * pixels + 2 * channels * pixels)
    assert memory.evaluation == 4 * 72 * (3 * pixels + 2 * channels * pixels)


@pytest.mark.parametrize("size", [96, 8])
def test_meta_tensors_and_real_images_agree(size: int) -> None:
    data = ImageData(batch_size=32, image_size=size)
    one, other = (estimate(module(network), data) for network in (Small(), NotOnMeta()))
    assert one.training is not None
    assert one.training == other.training


def measured(network: nn.Module, images: Tensor, precision: str) -> int:
    """The largest memory in use, as torch's profiler records it, above that before the step."""
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        with autocast:
            loss = network(images).float().logsumexp(1).sum()
        loss.backward()
    used = largest = 0
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        used += event.nbytes()
        largest = max(largest, used)
    return largest


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("size", [16, 72])
def test_a_step_of_resnet20_takes_what_is_estimated(size: int, precision: str) -> None:
    network, batch = CifarResNet(10, depth=20), 16
    memory = estimate(module(network), ImageData(batch_size=batch, eval_batch_size=batch, image_size=size), precision)
    images = torch.randn(batch, 3, size, size)
    found = measured(copy.deepcopy(network), images, precision) + images.nbytes
    assert memory.training is not None
    assert memory.training + memory.gradients == pytest.approx(found, rel=0.15)


def test_an_estimate_changes_neither_the_network_nor_random_states() -> None:
    class Drawing(CifarResNet):
        def forward(self, images: Tensor) -> Tensor:
            random.random()
            np.random.rand()
            return super().forward(nn.functional.dropout(images, 0.5))

    ours, data = module(Drawing(10, depth=8), PrunedClassifier), ImageData()
    before = copy.deepcopy(ours.state_dict())
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    for size in (8, 72):
        data.image_size = (size, size)
        estimate(ours, data)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_processes_share_a_batch_and_keep_their_own_images() -> None:
    data = ImageData(batch_size=128, image_size=72)
    one, two = (estimate(module(Small()), data, processes=count) for count in (1, 2))
    assert one.training is not None
    assert (two.training, two.images, two.batch_size) == (one.training // 2, one.images, 64)
    assert "per process" in str(two)


@pytest.mark.parametrize(("kind", "states"), [("Adam", 2), ("SGD", 0)])
def test_the_state_of_the_optimizer_is_counted(kind: str, states: int) -> None:
    make = getattr(torch.optim, kind)
    memory = estimate(module(Small(), optimizer=lambda p: make(p, lr=0.1)), ImageData())
    assert memory.optimizer // memory.gradients == states
    assert memory.optimizer - states * memory.gradients <= 3 * 4  # a step counter for each parameter


def test_streamed_images_take_no_memory() -> None:
    assert estimate(module(Small()), ImageData("digits", on_device=False)).images > 0  # no files
    assert ImageData("digits").resident_bytes() == (1149 + 288) * 3 * 8 * 8


def test_a_network_that_cannot_run_has_unknown_activations() -> None:
    memory = estimate(module(nn.Sequential(nn.Conv2d(3, 4, 99))), ImageData())
    assert (memory.training, memory.evaluation) == (None, None)
    assert "activations unknown" in str(memory)


def memory_of(training: int, evaluation: int) -> Memory:
    return Memory(10, 10, 10, 500, 20, training, evaluation, 128, 1024)


def test_a_warning_names_what_to_make_smaller() -> None:
    device = Device("the device", 1000)
    assert memory_of(400, 100).warning(device) is None
    assert memory_of(4000, 100).warning(Device("the device", None)) is None
    assert memory_of(2_000_000, 100).warning(device) == (
        "training needs about 2.0 MB of memory, the device has 1.0 kB: "
        "set a smaller data.batch_size with trainer.accumulate_grad_batches or a smaller data.image_size"
    )
    assert "data.eval_batch_size" in str(memory_of(100, 4000).warning(device))


def test_sizes_have_two_or_three_digits() -> None:
    assert [bytes_text(n) for n in (0, 999, 1000, 9_940, 12_345, 999_600, 2_940_000_000, 475_000_000_000)] == (
        ["0 B", "999 B", "1.0 kB", "9.9 kB", "12 kB", "1.0 MB", "2.9 GB", "475 GB"]
    )


def test_available_memory_is_at_most_the_limit_of_the_control_group(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       24000 kB\nMemAvailable:   16000 kB\n")
    assert available_memory(meminfo, tmp_path) == 16_000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(meminfo, tmp_path) == 16_000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    assert available_memory(meminfo, tmp_path) == 1_000_000


QUICK = ("--epochs_scale=0.1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")


@pytest.mark.parametrize(("bytes_free", "trains"), [(3_000_000, True), (100_000, False)])
def test_fit_warns_and_stops_only_where_no_batch_size_helps(
    bytes_free: int,
    trains: bool,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for command in (fit_module, plan_module):
        monkeypatch.setattr(command, "device_of", lambda *args, **kwargs: Device("the CPU", bytes_free))
    main(["plan", "--config", str(tiny), *QUICK])
    said = " ".join(capsys.readouterr().out.split())
    assert "memory about" in said
    warning = "warning: training needs about"
    assert warning in said
    if trains:
        main(["fit", "--config", str(tiny), *QUICK])
        assert capsys.readouterr().err.count(f"dasc fit: {warning}") == 1
        return
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(tiny), *QUICK])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("dasc fit: memory of the CPU must be >= ")
    assert last.endswith("data.image_size to a smaller size")
    assert list(tmp_path.iterdir()) == []
