"""Augmentation on the GPU gives the images of the CPU."""

import pytest
import torch

from dasc.augment import OPERATIONS, RandAugment, crop_and_flip, cutout, draw

pytestmark = pytest.mark.gpu

SIZES = [(8, 8), (32, 32), (33, 33), (20, 32)]
BLENDED = {"Color", "Contrast", "Sharpness"}
"""Operations in float32: a GPU may round a multiplication and an addition at once, which changes a last bit."""


def noise(size: tuple[int, int], count: int = 512) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(count, 3, *size, generator=generator) ** 2 * 256).to(torch.uint8)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=lambda number: OPERATIONS[number].name)
def test_an_operation_is_that_of_the_cpu(number: int, size: tuple[int, int]) -> None:
    images = noise(size, 62)
    places = torch.arange(62)
    settings = torch.full((62,), number), places // 2, places % 2 == 1  # every bin with both signs
    expected = RandAugment(*size).apply(images, *settings)
    result = RandAugment(*size, "cuda").apply(images.cuda(), *settings).cpu()
    difference = (result.int() - expected.int()).abs()
    if OPERATIONS[number].name not in BLENDED:
        assert int(difference.max()) == 0
    assert int(difference.max()) <= 1
    assert float((difference > 0).float().mean()) < 0.01


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_crop_flip_and_cutout_are_those_of_the_cpu(size: tuple[int, int]) -> None:
    images, draws = noise(size), draw(512, torch.Generator().manual_seed(2))
    expected = crop_and_flip(images, draws, padding=4, flip=True)
    assert torch.equal(crop_and_flip(images.cuda(), draws, padding=4, flip=True).cpu(), expected)
    assert not torch.equal(expected, images)
    floats = images.float()
    assert torch.equal(cutout(floats.cuda(), draws, 4).cpu(), cutout(floats, draws, 4))
