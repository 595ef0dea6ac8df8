import pytest
import torch
from scipy import stats
from torch import Tensor

from dasc.augment import Draws, draw, magnitudes

COUNT = 40_000
DRAWS = draw(COUNT, torch.Generator().manual_seed(20))

OPERATION = DRAWS.operation[:, 0] * 14 + DRAWS.operation[:, 1]
SIGN = DRAWS.negative[:, 0].int() * 2 + DRAWS.negative[:, 1].int()
PLACE = (DRAWS.shift * 9).int()


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        pytest.param(DRAWS.operation[:, 0], 14, id="first operation"),
        pytest.param(DRAWS.operation[:, 1], 14, id="second operation"),
        pytest.param(OPERATION, 14 * 14, id="pairs of operations"),
        pytest.param(SIGN, 4, id="pairs of signs"),
        pytest.param(DRAWS.magnitude, 31, id="magnitudes"),
        pytest.param(DRAWS.flip.int(), 2, id="flips"),
        pytest.param(PLACE[:, 0] * 9 + PLACE[:, 1], 81, id="places of the crop"),
        pytest.param(DRAWS.operation[:, 0] * 2 + DRAWS.negative[:, 0].int(), 28, id="operation with its sign"),
        pytest.param(DRAWS.magnitude * 4 + SIGN, 31 * 4, id="magnitude with signs"),
        pytest.param(DRAWS.magnitude * 14 + DRAWS.operation[:, 1], 31 * 14, id="magnitude with operation"),
        pytest.param(DRAWS.flip.int() * 9 + PLACE[:, 0], 18, id="flip with place"),
        pytest.param(DRAWS.operation[:-1, 0] * 14 + DRAWS.operation[1:, 0], 14 * 14, id="image with the next one"),
    ],
)
def test_what_is_drawn_is_uniform_and_independent(values: Tensor, kinds: int) -> None:
    counts = torch.bincount(values.long(), minlength=kinds)
    assert len(counts) == kinds
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_the_shift_is_in_the_unit_square() -> None:
    assert float(DRAWS.shift.min()) >= 0
    assert float(DRAWS.shift.max()) < 1


@pytest.mark.parametrize("column", Draws._fields)
def test_the_same_seed_draws_the_same_and_another_seed_does_not(column: str) -> None:
    first, again, other = (draw(64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(getattr(first, column), getattr(again, column))
    assert not torch.equal(getattr(first, column), getattr(other, column))


def test_the_draws_of_float64_runs_are_those_of_float32_runs() -> None:
    expected = draw(40, torch.Generator().manual_seed(3))
    torch.set_default_dtype(torch.float64)
    try:
        found = draw(40, torch.Generator().manual_seed(3))
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draw(8, torch.Generator().manual_seed(4))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("magnitude", [0, 14, 30])
def test_a_fixed_magnitude_is_every_images_bin(magnitude: int) -> None:
    draws = draw(5, torch.Generator().manual_seed(8))
    before = [column.clone() for column in draws]
    assert magnitudes(draws, magnitude).tolist() == [magnitude] * 5
    assert all(map(torch.equal, draws, before))


def test_a_random_magnitude_is_the_drawn_one() -> None:
    assert magnitudes(DRAWS, "random").tolist() == DRAWS.magnitude.tolist()


def test_rows_are_the_draws_of_those_images() -> None:
    rows = DRAWS.rows(3, 7)
    for name in Draws._fields:
        assert getattr(rows, name).tolist() == [getattr(DRAWS, name)[k].tolist() for k in range(3, 7)]
