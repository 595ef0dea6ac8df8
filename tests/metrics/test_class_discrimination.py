import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dasc.errors import UserError
from dasc.metrics import ClassDiscrimination, Reading
from tests.support.gathering import join

READINGS: list[Reading] = ["prediction", "latent"]
CLASSES = 5
STATES: dict[Reading, int] = {"prediction": 4, "latent": 3}


def images(count: int = 200, gap: float = 1.0, missing: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    targets = torch.randint(CLASSES, (count,), generator=draw)
    targets = targets[targets != missing]
    means = gap * torch.randn(CLASSES, CLASSES, generator=draw)
    return means[targets] + 2 * torch.randn(len(targets), CLASSES, generator=draw), targets


def metric_of(reading: Reading, temperature: float = 1.0) -> ClassDiscrimination:
    return ClassDiscrimination(CLASSES, reading, temperature, num_features=CLASSES)


def value_of(reading: Reading, outputs: Tensor, targets: Tensor, temperature: float = 1.0) -> float:
    metric = metric_of(reading, temperature)
    metric.update(outputs, targets)
    value = metric.compute()
    assert isinstance(value, Tensor)
    assert (value.shape, value.dtype) == (torch.Size([]), torch.float64)
    return value.item()


def pairs_by_hand(outputs: Tensor, targets: Tensor, temperature: float) -> float:
    scaled = outputs.double().numpy() / temperature
    p = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    labels = targets.tolist()
    kl: dict[tuple[int, int], list[float]] = {}
    for i, a in enumerate(labels):
        for j, b in enumerate(labels):
            kl.setdefault((a, b), []).append(float((p[i] * np.log(p[i] / p[j])).sum()))
    between = [math.fsum(values) / len(values) for (a, b), values in kl.items() if a != b]
    within = [math.fsum(values) / len(values) for (a, b), values in kl.items() if a == b]
    return (math.fsum(between) / len(between)) / (math.fsum(within) / len(within))


def scatter_by_hand(outputs: Tensor, targets: Tensor) -> float:
    x, y = outputs.double().numpy(), targets.numpy()
    between, within = np.zeros((CLASSES, CLASSES)), np.zeros((CLASSES, CLASSES))
    for label in sorted(set(y.tolist())):
        members = x[y == label]
        offset = members.mean(axis=0) - x.mean(axis=0)
        between += len(members) * np.outer(offset, offset)
        for member in members:
            within += np.outer(member - members.mean(axis=0), member - members.mean(axis=0))
    return float(np.trace(between) / np.trace(within))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_prediction_reading_is_that_of_a_loop_over_all_pairs_of_images(temperature: float) -> None:
    outputs, targets = images()
    expected = pairs_by_hand(outputs, targets, temperature)
    assert value_of("prediction", outputs, targets, temperature) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_latent_reading_is_that_of_explicit_scatter_matrices(offset: float) -> None:
    outputs, targets = images()
    expected = scatter_by_hand(outputs + offset, targets)
    assert value_of("latent", outputs + offset, targets) == pytest.approx(expected, rel=1e-8)


def test_there_may_be_more_features_than_classes() -> None:
    draw = torch.Generator().manual_seed(3)
    features, targets = torch.randn(40, 17, generator=draw), torch.randint(CLASSES, (40,), generator=draw)
    metric = ClassDiscrimination(CLASSES, "latent", num_features=17)
    metric.update(features, targets)
    means = torch.stack([features[targets == targets[i]].mean(dim=0) for i in range(40)])
    within = (features - means).square().sum()
    between = (means - features.mean(dim=0)).square().sum()
    assert metric.compute().item() == pytest.approx((between / within).item(), rel=1e-5)


@pytest.mark.parametrize("reading", READINGS)
def test_batches_in_any_split_are_one_update(reading: Reading) -> None:
    outputs, targets = images()
    expected = value_of(reading, outputs, targets)
    for sizes in ([1, 99], [50, 7, 30], [3] * 40):
        metric, order = metric_of(reading), torch.randperm(len(targets))
        for chosen in torch.tensor_split(order, np.cumsum(sizes).tolist()):
            metric(outputs[chosen], targets[chosen])
        assert metric.compute().item() == pytest.approx(expected, rel=1e-10)
        metric.reset()
        metric.update(outputs, targets)
        assert metric.compute().item() == expected


@pytest.mark.parametrize("reading", READINGS)
def test_processes_add_up_to_one(reading: Reading) -> None:
    outputs, targets = images()
    one, other = metric_of(reading), metric_of(reading)
    one.update(outputs[:60], targets[:60])
    other.update(outputs[60:], targets[60:])
    sent = join(one, other)
    assert one.compute().item() == pytest.approx(value_of(reading, outputs, targets), rel=1e-10)
    assert sent == [torch.float64] * STATES[reading]
    assert one.count.sum() == 60


@pytest.mark.parametrize("reading", READINGS)
def test_the_further_the_classes_are_apart_the_higher_the_value(reading: Reading) -> None:
    values = [value_of(reading, *images(gap=gap)) for gap in (0.0, 1.0, 2.0, 4.0)]
    assert values == sorted(values)
    assert values[-1] > 3 * values[0]
    outputs, targets = images(gap=4.0)
    assert value_of(reading, outputs, targets[torch.randperm(len(targets))]) < 0.5 * values[-1]


def test_predictions_that_do_not_know_the_class_have_the_value_one() -> None:
    assert value_of("prediction", *images(count=20_000, gap=0.0)) == pytest.approx(1.0, abs=0.02)


def test_temperature_changes_the_predictions_and_not_the_features() -> None:
    outputs, targets = images(gap=4.0)
    by_reading = {reading: [value_of(reading, outputs, targets, tau) for tau in (1.0, 4.0)] for reading in READINGS}
    assert by_reading["prediction"][0] != pytest.approx(by_reading["prediction"][1], rel=0.05)
    assert by_reading["latent"][0] == by_reading["latent"][1]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float64_inside_autocast_too(reading: Reading, dtype: torch.dtype) -> None:
    outputs, targets = images()
    rounded = (100 * outputs).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = value_of(reading, rounded, targets)
    assert got == value_of(reading, rounded.double(), targets)
    assert math.isfinite(got)


@pytest.mark.parametrize("reading", READINGS)
def test_it_goes_on_after_a_reset_in_inference_mode(reading: Reading) -> None:
    outputs, targets = images()
    metric = metric_of(reading)
    with torch.inference_mode():
        metric.update(-outputs, targets)
        metric.reset()
    metric.update(outputs, targets)
    assert metric.compute().item() == value_of(reading, outputs, targets)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
def test_images_that_differ_between_classes_alone_are_infinitely_far_apart(reading: Reading, size: float) -> None:
    outputs = size * torch.randn(CLASSES, CLASSES, generator=torch.Generator().manual_seed(2))
    targets = torch.arange(CLASSES).repeat(70)
    assert value_of(reading, outputs[targets], targets) == math.inf
    assert value_of(reading, outputs, targets[:CLASSES]) == math.inf


@pytest.mark.parametrize("reading", READINGS)
def test_there_is_no_value_where_nothing_differs_or_one_class_was_seen(reading: Reading) -> None:
    outputs, targets = images()
    assert math.isnan(value_of(reading, outputs, torch.full_like(targets, 2)))
    assert math.isnan(value_of(reading, outputs[:1].expand(len(targets), -1), targets))
    metric = metric_of(reading)
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert math.isnan(metric.compute().item())


@pytest.mark.parametrize("reading", READINGS)
def test_a_broken_output_is_not_hidden(reading: Reading) -> None:
    outputs, targets = images()
    outputs[7, 2] = math.nan
    assert math.isnan(value_of(reading, outputs, targets))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1: write a whole number, at least 2"),
        ({"reading": "latents"}, "unknown reading 'latents': did you mean latent?"),
        ({"temperature": 0.0}, "temperature is 0.0: write a number over 0"),
        ({"temperature": -1.0}, "temperature is -1.0: write a number over 0"),
        ({"temperature": math.nan}, "temperature is nan: write a number over 0"),
        (
            {"reading": "latent"},
            "num_features is None: the latent reading needs the number of penultimate features, at least 1",
        ),
        (
            {"reading": "latent", "num_features": 0},
            "num_features is 0: the latent reading needs the number of penultimate features, at least 1",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        ClassDiscrimination(**{"num_classes": CLASSES, **arguments})
    assert str(error.value) == message


def test_higher_is_better() -> None:
    assert metric_of("prediction").higher_is_better is True
