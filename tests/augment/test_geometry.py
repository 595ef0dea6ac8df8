import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from dasc.augment import crop_and_flip, draw
from dasc.augment.geometry import take


def noise(count: int, height: int, width: int) -> Tensor:
    # from 1 on, so that black is always padding
    return torch.randint(
        1, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(count)
    )


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 4, 40])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (20, 33)])
def test_each_image_is_padded_cropped_and_then_mirrored(size: tuple[int, int], padding: int, flip: bool) -> None:
    height, width = size
    images = noise(60, height, width)
    before = images.clone()
    draws = draw(60, torch.Generator().manual_seed(padding))
    got = crop_and_flip(images, draws, padding, flip)
    for k, image in enumerate(images):
        top, left = (int(shift * (2 * padding + 1)) for shift in draws.shift[k])
        expected = F.pad(image, (padding,) * 4)[:, top : top + height, left : left + width]
        if flip and draws.flip[k]:
            expected = expected.flip(-1)
        assert torch.equal(got[k], expected), k
    assert torch.equal(images, before)


def test_nothing_to_do_returns_the_images_themselves() -> None:
    images = noise(4, 8, 8)
    assert crop_and_flip(images, draw(4, torch.Generator().manual_seed(0)), padding=0, flip=False) is images


@pytest.mark.parametrize("padding", [1, 4])
def test_the_crop_lies_equally_often_at_each_place(padding: int) -> None:
    images = torch.zeros(8000, 3, 16, 16, dtype=torch.uint8)
    images[:, :, 8, 8] = 1
    got = crop_and_flip(images, draw(8000, torch.Generator().manual_seed(9)), padding, flip=False)
    places = got[:, 0].nonzero()[:, 1:] - 8 + padding
    counts = torch.bincount(places[:, 0] * (2 * padding + 1) + places[:, 1], minlength=(2 * padding + 1) ** 2)
    assert len(counts) == (2 * padding + 1) ** 2
    assert int(counts.min()) > 0
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_half_of_the_images_are_mirrored() -> None:
    images = noise(1, 8, 8).repeat(2000, 1, 1, 1)
    got = crop_and_flip(images, draw(2000, torch.Generator().manual_seed(10)), padding=0, flip=True)
    mirrored = (got == images.flip(-1)).flatten(1).all(1)
    assert torch.equal((got == images).flatten(1).all(1), ~mirrored)
    assert stats.binomtest(int(mirrored.sum()), 2000).pvalue > 1e-3


def test_take_fills_each_place_from_the_pixel_named_and_with_black_where_none_is() -> None:
    images = noise(3, 2, 4)
    source = torch.tensor([[7, -1, 0, 0, 3, 2, 1, -1], [0, 1, 2, 3, 4, 5, 6, 7], [-1] * 8], dtype=torch.int32)
    got = take(images, source)
    for k in range(3):
        for channel in range(3):
            pixels = images[k, channel].flatten().tolist()
            expected = [pixels[place] if place >= 0 else 0 for place in source[k].tolist()]
            assert got[k, channel].flatten().tolist() == expected
