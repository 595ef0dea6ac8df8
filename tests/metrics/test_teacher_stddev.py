import math

import pytest
import torch
from torch import Tensor

from dasc.errors import UserError
from dasc.metrics import TeacherStddev
from tests.support.gathering import join

DRAWS, IMAGES, CLASSES = 4, 30, 5


def answers(spread: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    shared = 2 * torch.randn(IMAGES, CLASSES, generator=draw)
    return shared + spread * torch.randn(DRAWS, 1, CLASSES, generator=draw)


def value_of(logits: Tensor) -> float:
    metric = TeacherStddev(CLASSES, len(logits))
    for draw, rows in enumerate(logits):
        metric.update(rows, draw)
    value = metric.compute()
    assert isinstance(value, Tensor)
    assert (value.shape, value.dtype) == (torch.Size([]), torch.float64)
    return value.item()


def by_hand(logits: Tensor) -> float:
    means = []
    for rows in logits.tolist():
        probabilities = []
        for row in rows:
            total = math.fsum(map(math.exp, row))
            probabilities.append([math.exp(x) / total for x in row])
        means.append([math.fsum(column) / len(rows) for column in zip(*probabilities, strict=True)])
    deviations = []
    for column in zip(*means, strict=True):
        center = math.fsum(column) / len(column)
        deviations.append(math.sqrt(math.fsum((x - center) ** 2 for x in column) / len(column)))
    return math.fsum(deviations) / len(deviations)


@pytest.mark.parametrize("draws", [2, DRAWS])
def test_it_is_the_deviation_over_draws_of_each_mean_probability_averaged_over_classes(draws: int) -> None:
    logits = answers()[:draws]
    assert value_of(logits) == pytest.approx(by_hand(logits), rel=1e-10)


def test_two_sure_draws_that_contradict_each_other_are_at_the_upper_end() -> None:
    logits = torch.tensor([[[100.0, 0.0]], [[0.0, 100.0]]])
    metric = TeacherStddev(2, 2)
    metric.update(logits[0], 0)
    metric.update(logits[1], 1)
    assert metric.compute().item() == pytest.approx(0.5)


def test_it_grows_with_the_differences_between_draws_and_not_between_images() -> None:
    values = [value_of(answers(spread)) for spread in (0.0, 0.1, 1.0)]
    assert values[0] < 1e-15
    assert values[0] < values[1] < values[2]
    assert TeacherStddev(CLASSES, DRAWS).higher_is_better is False


def test_batches_in_any_split_and_order_are_one_update() -> None:
    logits = answers()
    metric = TeacherStddev(CLASSES, DRAWS)
    for rows in logits.split(7, dim=1):
        for draw in (2, 0, 3, 1):
            metric(rows[draw], draw)
    assert metric.compute().item() == pytest.approx(value_of(logits), rel=1e-10)
    metric.reset()
    for draw in range(DRAWS):
        metric.update(logits[draw], draw)
    assert metric.compute().item() == value_of(logits)


def test_processes_add_up_to_one() -> None:
    logits = answers()
    one, other = TeacherStddev(CLASSES, DRAWS), TeacherStddev(CLASSES, DRAWS)
    for draw in range(DRAWS):
        one.update(logits[draw, :11], draw)
        other.update(logits[draw, 11:], draw)
    sent = join(one, other)
    assert one.compute().item() == pytest.approx(value_of(logits), rel=1e-10)
    assert sent == [torch.float64] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float64_inside_autocast_too(dtype: torch.dtype) -> None:
    rounded = (10 * answers()).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = value_of(rounded)
    assert got == value_of(rounded.double())
    assert got == pytest.approx(by_hand(rounded), rel=1e-10)


def test_draws_without_images_are_left_out_and_one_draw_has_no_value() -> None:
    logits = answers()
    metric = TeacherStddev(CLASSES, DRAWS)
    metric.update(logits[1], 1)
    assert math.isnan(metric.compute().item())
    metric.update(logits[3], 3)
    assert metric.compute().item() == pytest.approx(by_hand(logits[[1, 3]]), rel=1e-10)


@pytest.mark.parametrize("draw", [-1, DRAWS])
def test_a_draw_that_does_not_exist_is_refused(draw: int) -> None:
    metric = TeacherStddev(CLASSES, DRAWS)
    with pytest.raises(IndexError, match=rf"draw is {draw}, but there are 4, counted from 0"):
        metric.update(answers()[0], draw)


@pytest.mark.parametrize(
    ("num_classes", "draws", "message"),
    [
        (CLASSES, 1, "draws is 1: write a whole number, at least 2"),
        (1, DRAWS, "num_classes is 1: write a whole number, at least 2"),
    ],
)
def test_arguments_out_of_range_are_refused(num_classes: int, draws: int, message: str) -> None:
    with pytest.raises(UserError) as error:
        TeacherStddev(num_classes, draws)
    assert str(error.value) == message
