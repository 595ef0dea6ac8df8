"""Several augmented views of one image: in training, and of test images."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from dasc.augment import OPERATIONS, Draws, RandAugment, crop_and_flip, cutout, draw
from dasc.data import Batch, ImageData
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.seeding import Stream, mix
from dasc.stages import Magnitude, Stages
from tests.support.files import make_folder
from tests.support.training import bare_trainer

BATCH = 96
STEPS = 1149 // BATCH
MEAN, STD = 0.3053, 0.3759


def in_state(data: ImageData, training: bool = True, epoch: int = 0, rank: int = 0, world_size: int = 1) -> ImageData:
    state = SimpleNamespace(
        training=training,
        testing=not training,
        current_epoch=epoch,
        global_rank=rank,
        world_size=world_size,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    data.trainer = cast(Trainer, state)
    data.setup("fit" if training else "test")
    return data


def training(views: int = 1, magnitude: Magnitude = "random", epoch: int = 0, rank: int = 0, **given: Any) -> ImageData:
    world_size = given.pop("world_size", 1)
    data = in_state(ImageData(batch_size=BATCH, magnitude=magnitude, **given), True, epoch, rank, world_size)
    data.augmentation.views = views
    return data


def batch_of(data: ImageData, number: int = 0) -> Batch:
    return list(data.train_dataloader())[number]


def seen(data: ImageData, number: int = 0) -> Batch:
    return data.on_after_batch_transfer(batch_of(data, number), 0)


def draws_by_hand(view: int, number: int, epoch: int = 0) -> Draws:
    seed = mix(Stream.AUGMENTATION, 0, epoch, 0, view)
    drawn = draw(STEPS * BATCH, torch.Generator().manual_seed(seed))
    return Draws(*(column[number * BATCH : (number + 1) * BATCH] for column in drawn))


def normalised(images: Tensor) -> Tensor:
    return ((images.double() / 255 - MEAN) / STD).float()


@pytest.mark.parametrize("hole", [None, 3])
@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("magnitude", ["random", 9])
def test_views_share_crop_flip_and_hole_and_have_a_randaugment_each(
    magnitude: Magnitude, number: int, hole: int | None
) -> None:
    data = training(3, magnitude, flip=True, cutout=hole)
    images, got = batch_of(data, number).images, seen(data, number).images
    assert got.shape == (3, BATCH, 3, 8, 8)
    assert got.dtype == torch.float32
    first = draws_by_hand(0, number)
    for view in range(3):
        cropped = crop_and_flip(images, first, 1, flip=True)
        expected = normalised(RandAugment(8, 8)(cropped, draws_by_hand(view, number), magnitude))
        if hole is not None:
            expected = cutout(expected, first, hole)
        assert torch.allclose(got[view], expected, rtol=0, atol=1e-6), view


def test_views_without_an_operation_are_equal() -> None:
    # at M = 0 all operations but these leave an image as it is
    data = training(4, 0, flip=True, cutout=4)
    draws = [draws_by_hand(view, 0) for view in range(4)]
    changing = torch.tensor([o.name in ("AutoContrast", "Equalize", "Solarize") for o in OPERATIONS])
    untouched = torch.stack([~changing[d.operation].any(1) for d in draws]).all(0)
    assert int(untouched.sum()) > 5
    got = seen(data).images[:, untouched]
    assert all(torch.equal(got[view], got[0]) for view in (1, 2, 3))
    whole = training(1, "none", flip=True, cutout=4)
    assert torch.equal(got[0], seen(whole).images[untouched])


def test_views_differ() -> None:
    got = seen(training(4)).images
    for one in range(4):
        for other in range(one):
            same = (got[one] == got[other]).flatten(1).all(1)
            assert float(same.float().mean()) < 0.3


@pytest.mark.parametrize("magnitude", ["random", 14])
@pytest.mark.parametrize("number", [0, 2])
def test_the_first_view_is_the_one_that_a_single_view_would_be(magnitude: Magnitude, number: int) -> None:
    one, many = seen(training(1, magnitude, cutout=2), number), seen(training(3, magnitude, cutout=2), number)
    assert torch.equal(many.images[0], one.images)
    assert torch.equal(many.targets, one.targets)
    assert torch.equal(many.indices, one.indices)
    assert one.magnitudes is None


def test_magnitudes_are_the_bins_that_each_view_drew() -> None:
    batch = seen(training(4), 3)
    assert batch.magnitudes is not None
    assert batch.magnitudes.dtype == torch.int64
    assert batch.magnitudes.tolist() == [draws_by_hand(view, 3).magnitude.tolist() for view in range(4)]
    flat = batch.magnitudes.flatten().tolist()
    assert (min(flat), max(flat)) == (0, 30)
    for view in (1, 2, 3):
        assert float((batch.magnitudes[view] == batch.magnitudes[0]).float().mean()) < 0.2


def test_a_magnitude_that_is_a_number_is_the_bin_of_every_view() -> None:
    batch = seen(training(2, 17))
    assert batch.magnitudes is not None
    assert batch.magnitudes.tolist() == [[17] * BATCH] * 2


def test_views_depend_on_seed_epoch_and_rank_and_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(training())._replace(indices=torch.arange(BATCH))
    half = Batch(batch.images[: BATCH // 2], batch.targets[: BATCH // 2], batch.indices[: BATCH // 2], 1)

    def images(seed: int, epoch: int, rank: int, torch_seed: int = 0) -> list[bytes]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(torch_seed)
        data = training(3, epoch=epoch, rank=rank, world_size=2)
        views = data.on_after_batch_transfer(half, 0).images
        return [view.numpy().tobytes() for view in views]

    assert images(0, 0, 0) == images(0, 0, 0, torch_seed=1)
    everything = images(0, 0, 0) + images(0, 0, 1) + images(0, 1, 0) + images(1, 0, 0)
    assert len(set(everything)) == 12


def test_the_next_epoch_of_the_same_data_is_drawn_anew() -> None:
    data = training(2)
    state = cast(SimpleNamespace, data.trainer)
    batch = batch_of(data)
    for epoch in (0, 1, 0):
        state.current_epoch = epoch
        bins = data.on_after_batch_transfer(batch, 0).magnitudes
        assert bins is not None
        assert bins.tolist() == [draws_by_hand(view, 0, epoch).magnitude.tolist() for view in range(2)]


class Flattening(Classifier):
    """Sees all views of an image as images."""

    def __init__(self) -> None:
        super().__init__(CifarResNet(10, depth=8), Stages.parse([{"epochs": 1, "magnitude": 9}]))
        self.shapes: list[tuple[int, ...]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.shapes.append(tuple(batch.images.shape))
        images, targets = batch.images.flatten(0, 1), batch.targets.repeat(len(batch.images))
        return super().training_step(batch._replace(images=images, targets=targets), batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.shapes.append(tuple(batch.images.shape))
        assert batch.magnitudes is None
        super().validation_step(batch, batch_idx)


def test_a_fit_trains_on_views_and_validates_on_the_images_themselves() -> None:
    data, module = ImageData(batch_size=64, magnitude=9), Flattening()
    data.augmentation.views = 2
    bare_trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1).fit(module, datamodule=data)
    assert module.shapes == [(2, 64, 3, 8, 8)] * 2 + [(288, 3, 8, 8)]


def scored(eval_batch_size: int, **given: Any) -> tuple[ImageData, list[Batch]]:
    data = in_state(ImageData(eval_batch_size=eval_batch_size, **given), training=False)
    return data, [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]


def views_of(view: int, eval_batch_size: int, **given: Any) -> Tensor:
    data, batches = scored(eval_batch_size, **given)
    return torch.cat([data.pipeline.test_view(batch, view) for batch in batches])


@pytest.mark.parametrize("hole", [None, 3])
@pytest.mark.parametrize("view", [0, 3])
def test_a_view_of_test_images_is_augmented_at_a_random_magnitude_and_normalised(view: int, hole: int | None) -> None:
    data, batches = scored(1000, flip=True, cutout=hole)
    assert len(batches) == 1
    images = batches[0].unaugmented
    assert images is not None
    assert images.dtype == torch.uint8
    assert torch.allclose(batches[0].images, normalised(images), rtol=0, atol=1e-6)
    draws = draw(360, torch.Generator().manual_seed(mix(Stream.EVALUATION, view)))
    expected = normalised(RandAugment(8, 8)(crop_and_flip(images, draws, 1, flip=True), draws, "random"))
    if hole is not None:
        expected = cutout(expected, draws, hole)
    assert torch.allclose(data.pipeline.test_view(batches[0], view), expected, rtol=0, atol=1e-6)


def test_a_view_of_resident_files_is_cropped_the_same_before_and_after_a_fit(tmp_path: Path) -> None:
    make_folder(tmp_path, {part: {"cat": 8, "dog": 8} for part in ("train", "val", "test")})
    given: dict[str, Any] = {"dataset": "folder", "root": str(tmp_path), "batch_size": 4}
    data, (batch,) = scored(16, **given)
    view = data.pipeline.test_view(batch, 0)
    data.setup("fit")
    assert torch.equal(data.pipeline.test_view(batch, 0), view)


@pytest.mark.parametrize("eval_batch_size", [7, 100, 359])
def test_a_view_is_the_same_in_any_batches(eval_batch_size: int) -> None:
    assert torch.equal(views_of(1, eval_batch_size), views_of(1, 360))


def test_a_view_follows_an_image_and_not_its_place_in_the_batch() -> None:
    data, (batch,) = scored(360)
    order = torch.randperm(360, generator=torch.Generator().manual_seed(0))[:50]
    assert batch.unaugmented is not None
    some = Batch(
        batch.images[order], batch.targets[order], batch.indices[order], 0, None, None, batch.unaugmented[order]
    )
    assert torch.equal(data.pipeline.test_view(some, 2), data.pipeline.test_view(batch, 2)[order])


def test_views_of_test_images_differ_and_do_not_depend_on_seed_or_magnitude(monkeypatch: pytest.MonkeyPatch) -> None:
    data, (batch,) = scored(360)
    views = [data.pipeline.test_view(batch, view) for view in range(5)]
    assert len({view.numpy().tobytes() for view in views}) == 5
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    torch.manual_seed(5)
    other, (again,) = scored(360, magnitude=3)
    for number in (4, 0, 4):
        assert torch.equal(other.pipeline.test_view(again, number), views[number])


class Views(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Batch] = []
        self.views: list[Tensor] = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, ImageData)
        self.seen.append(batch)
        self.views.append(data.pipeline.test_view(batch, 1))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.seen.append(batch)


def test_a_trainers_test_has_the_unaugmented_images_and_a_validation_has_not() -> None:
    module, data = Views(), ImageData(eval_batch_size=200)
    bare_trainer().test(module, datamodule=data, verbose=False)
    assert [batch.unaugmented is None for batch in module.seen] == [False, False]
    assert torch.equal(torch.cat(module.views), views_of(1, 360))
    module.seen.clear()
    bare_trainer().validate(module, datamodule=data, verbose=False)
    assert [batch.unaugmented is None for batch in module.seen] == [True, True]
