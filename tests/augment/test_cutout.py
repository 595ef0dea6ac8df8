import pytest
import torch
from scipy import stats
from torch import Tensor

from dasc.augment import Draws, cutout, draw

COUNT = 30


def ones_and_more(height: int, width: int) -> Tensor:
    """Images without a zero."""
    return 1 + torch.rand(COUNT, 3, height, width, generator=torch.Generator().manual_seed(height))


def draws_of(count: int, seed: int = 0) -> Draws:
    return draw(count, torch.Generator().manual_seed(seed))


def with_holes(holes: list[list[float]]) -> Draws:
    return draws_of(len(holes))._replace(hole=torch.tensor(holes))


@pytest.mark.parametrize("size", [1, 2, 3, 8, 16, 17, 100])
@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (20, 33), (9, 5)])
def test_each_pixel_is_0_inside_the_hole_and_itself_outside(shape: tuple[int, int], size: int) -> None:
    height, width = shape
    images = ones_and_more(height, width)
    before = images.clone()
    draws = draws_of(COUNT, seed=size)
    got = cutout(images, draws, size)
    assert got.dtype == images.dtype
    for k in range(COUNT):
        middle_y, middle_x = int(draws.hole[k, 0] * height), int(draws.hole[k, 1] * width)
        top, left = middle_y - size // 2, middle_x - size // 2
        expected = before[k].tolist()
        for channel in range(3):
            for y in range(height):
                for x in range(width):
                    if top <= y < top + size and left <= x < left + size:
                        expected[channel][y][x] = 0.0
        assert got[k].tolist() == expected, k
    assert torch.equal(images, before)


def test_a_hole_inside_the_image_is_a_whole_square_and_one_in_the_corner_a_part_of_it() -> None:
    images = torch.ones(3, 3, 8, 12)
    draws = with_holes([[0.5, 0.5], [0.0, 0.0], [0.999, 0.999]])
    rest = [int(image[0].sum()) for image in cutout(images, draws, 4)]
    # rows 2..5 and columns 4..7; rows and columns 0..1; rows 5..7 and columns 9..11, with their middle in the corner
    assert rest == [96 - 4 * 4, 96 - 2 * 2, 96 - 3 * 3]


@pytest.mark.parametrize("side", [8, 32, 33, 224, 1000])
def test_the_largest_draw_is_still_in_the_last_row_and_column(side: int) -> None:
    largest = 1 - 2**-24  # of torch.rand in float32
    got = cutout(torch.ones(1, 1, side, side), with_holes([[largest, largest]]), 1)
    assert (got[0, 0] == 0).nonzero().tolist() == [[side - 1, side - 1]]


def test_the_middle_lies_equally_often_at_each_pixel() -> None:
    height, width = 6, 10
    got = cutout(torch.ones(12000, 1, height, width), draws_of(12000, seed=3), 1)
    holes = (got[:, 0] == 0).flatten(1)
    assert holes.sum(1).tolist() == [1] * 12000
    counts = holes.sum(0)
    assert int(counts.min()) > 0
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_the_hole_is_drawn_apart_from_the_crop() -> None:
    draws = draws_of(8000, seed=4)
    everything = torch.cat([draws.shift, draws.hole], dim=1).T
    between = torch.corrcoef(everything) - torch.eye(4)
    assert float(between.abs().max()) < 4 / 8000**0.5
