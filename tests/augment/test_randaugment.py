import pytest
import torch
from torch import Tensor

from dasc.augment import OPERATIONS, Draws, RandAugment, draw
from dasc.augment.operations import BINS
from dasc.stages import Magnitude
from tests.support.augmentation import reference

NUMBER = {operation.name: number for number, operation in enumerate(OPERATIONS)}


def pictures(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    uniform = torch.rand(3, height, width, generator=generator)
    ramp = torch.linspace(0, 1, width).expand(1, height, width)
    levels = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1)
    return torch.stack(
        [
            uniform * 255,
            uniform**6 * 255,
            100 + uniform * 4,
            uniform[:1].expand(3, -1, -1) * 255,
            (uniform > 0.97) * 255.0,
            torch.cat([ramp * 255, uniform[:1] * 40, torch.full_like(ramp, 9)]),
            torch.full_like(uniform, 255),
            torch.full_like(uniform, 255) * levels,
        ]
    ).to(torch.uint8)


def draws_like(operations: list[list[int]], negative: bool = False, magnitude: int = 0) -> Draws:
    count = len(operations)
    return Draws(
        operation=torch.tensor(operations),
        negative=torch.full((count, 2), negative),
        magnitude=torch.full((count,), magnitude),
        flip=torch.zeros(count, dtype=torch.bool),
        shift=torch.zeros(count, 2),
        hole=torch.zeros(count, 2),
    )


def versions(images: Tensor) -> int:
    return len({image.numpy().tobytes() for image in images})


EVERY_BIN = [(size, list(range(BINS))) for size in [(8, 8), (28, 28), (32, 32), (33, 33), (20, 32)]]


@pytest.mark.parametrize(
    ("size", "bins"), [*EVERY_BIN, ((224, 224), [1, 14, 30])], ids=lambda value: str(value).replace(" ", "")[:9]
)
@pytest.mark.parametrize("name", NUMBER)
def test_an_operation_equals_torchvisions_bit_for_bit_at_every_bin_and_sign(
    name: str, size: tuple[int, int], bins: list[int]
) -> None:
    images = pictures(*size)
    if size == (224, 224):
        images = images[[0, 1, 5]]
    cases = [(image, bin_, negative) for bin_ in bins for negative in (False, True) for image in images]
    got = RandAugment(*size).apply(
        torch.stack([image for image, _, _ in cases]),
        torch.full((len(cases),), NUMBER[name]),
        torch.tensor([bin_ for _, bin_, _ in cases]),
        torch.tensor([negative for _, _, negative in cases]),
    )
    expected = torch.stack([reference(image, name, bin_, negative) for image, bin_, negative in cases])
    different = (got != expected).flatten(1).any(1).nonzero()[:, 0].tolist()
    assert [(case // len(images), case % len(images)) for case in different] == []


@pytest.mark.parametrize("magnitude", [0, 14, 30, "random"])
def test_each_image_gets_its_own_two_operations_one_after_the_other(magnitude: Magnitude) -> None:
    count = 392
    generator = torch.Generator().manual_seed(5)
    draws = draw(count, generator)
    pairs = torch.cartesian_prod(torch.arange(14), torch.arange(14)).repeat(2, 1)
    draws = draws._replace(operation=pairs[torch.randperm(count, generator=generator)])
    images = pictures(32, 32).repeat(49, 1, 1, 1)
    got = RandAugment(32, 32)(images, draws, magnitude)
    for k, image in enumerate(images):
        bin_ = int(draws.magnitude[k]) if isinstance(magnitude, str) else magnitude
        for step in (0, 1):
            name = OPERATIONS[int(draws.operation[k, step])].name
            image = reference(image, name, bin_, bool(draws.negative[k, step]))
        assert torch.equal(got[k], image), (k, draws.operation[k])


def test_what_an_image_becomes_does_not_depend_on_its_batch() -> None:
    draws = draw(64, torch.Generator().manual_seed(6))
    images = pictures(28, 28).repeat(8, 1, 1, 1)
    augment = RandAugment(28, 28)
    whole = augment(images, draws, "random")
    parts = [augment(images[k : k + 1], draws.rows(k, k + 1), "random") for k in range(64)]
    assert torch.equal(torch.cat(parts), whole)


def test_one_picture_in_a_batch_comes_out_in_many_versions() -> None:
    images = pictures(32, 32)[:1].repeat(256, 1, 1, 1)
    got = RandAugment(32, 32)(images, draw(256, torch.Generator().manual_seed(7)), 14)
    assert versions(got) > 150
    # two identities leave one image in 196 as it is, and few other pairs do
    changed = (got != images).flatten(1).any(1).float().mean()
    assert 0.9 < float(changed) < 1


def test_none_returns_the_images_themselves_and_magnitude_zero_does_not() -> None:
    images = pictures(32, 32)
    draws = draws_like([[NUMBER["Equalize"], NUMBER["AutoContrast"]]] * len(images))
    augment = RandAugment(32, 32)
    assert augment(images, draws, "none") is images
    expected = torch.stack(
        [reference(reference(image, "Equalize", 0, False), "AutoContrast", 0, False) for image in images]
    )
    got = augment(images, draws, 0)
    assert torch.equal(got, expected)
    assert not torch.equal(got, images)


def test_random_takes_each_images_own_bin() -> None:
    images = pictures(32, 32)[:1].repeat(BINS, 1, 1, 1)
    draws = draws_like([[NUMBER["Rotate"], NUMBER["Identity"]]] * BINS)._replace(magnitude=torch.arange(BINS))
    augment = RandAugment(32, 32)
    got = augment(images, draws, "random")
    for bin_ in range(BINS):
        assert torch.equal(got[bin_], reference(images[0], "Rotate", bin_, False))
        assert torch.equal(augment(images, draws, bin_)[0], got[bin_])
    assert versions(got) > 25


@pytest.mark.parametrize("name", NUMBER)
def test_the_images_given_are_not_changed(name: str) -> None:
    images = pictures(20, 32)
    before = images.clone()
    draws = draws_like([[NUMBER[name]] * 2] * len(images), negative=True)
    got = RandAugment(20, 32)(images, draws, 30)
    got.add_(1)
    assert torch.equal(images, before)


def test_a_translation_moves_the_picture_once_and_the_sign_turns_it_around() -> None:
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 16, 16] = 200
    draws = draws_like([[NUMBER["TranslateX"], NUMBER["Identity"]], [NUMBER["TranslateY"], NUMBER["Identity"]]])
    augment = RandAugment(32, 32)
    offset = int(150 / 331 * 32)
    for negative, sign in ((False, 1), (True, -1)):
        got = augment(images, draws._replace(negative=torch.full((2, 2), negative)), 30)
        assert got[0].nonzero().tolist() == [[channel, 16, 16 + sign * offset] for channel in range(3)]
        assert got[1].nonzero().tolist() == [[channel, 16 + sign * offset, 16] for channel in range(3)]


def test_translations_reach_as_many_pixels_as_asked_for() -> None:
    column = torch.zeros(31, 3, 32, 32, dtype=torch.uint8)
    column[:, :, :, 0] = 200
    everything = torch.full((31,), NUMBER["TranslateX"])
    bins, positive = torch.arange(31), torch.zeros(31, dtype=torch.bool)
    moved = RandAugment(32, 32, translate=10).apply(column, everything, bins, positive)
    assert moved[:, 0, 5].argmax(1).tolist() == [int(10 * bin_ / 30) for bin_ in range(31)]
    moved = RandAugment(32, 32).apply(column, everything, bins, positive)
    assert moved[30, 0, 5].argmax() == 14


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("size", [32, 224])
def test_a_gpu_differs_by_one_grey_level_on_one_pixel_in_a_hundred_at_most(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(256, 3, size, size, generator=generator) ** 2 * 256).to(torch.uint8)
    draws = draw(256, generator)
    here = RandAugment(size, size)(images, draws, "random")
    there = RandAugment(size, size, "cuda")(images.cuda(), draws, "random").cpu()
    difference = (here.int() - there.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 0.01
