from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.datasets import load_digits
from torch import Tensor

from dasc.data import DATASETS, Batch, ImageData, ImageSet, stratified_split
from dasc.errors import UserError
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.stages import Magnitude, Stages
from tests.support.training import bare_trainer

TRAIN = 1149


def digits() -> tuple[ImageSet, ImageSet]:
    """The digits without the test images, and the test images."""
    everything = DATASETS["digits"].read(Path(), False).train
    assert isinstance(everything, ImageSet)
    rest, test = stratified_split(everything.targets, 0.2, seed=0)
    return everything.subset(rest), everything.subset(test)


def training(data: ImageData, epoch: int = 0, rank: int = 0, world_size: int = 1) -> ImageData:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    state = SimpleNamespace(
        training=True, current_epoch=epoch, global_rank=rank, world_size=world_size, strategy=strategy
    )
    data.trainer = cast(Trainer, state)
    data.setup("fit")
    return data


def first_batch(data: ImageData) -> Batch:
    return next(iter(data.train_dataloader()))


def augmented(data: ImageData) -> Tensor:
    return pixels(data.on_after_batch_transfer(first_batch(data), 0).images)


def pixels(normalised: Tensor) -> Tensor:
    mean, std = DATASETS["digits"].mean[0], DATASETS["digits"].std[0]
    return ((normalised.double() * std + mean) * 255).round().to(torch.uint8)


def whole(batches: Any) -> ImageSet:
    parts = list(batches)
    return ImageSet(torch.cat([part.images for part in parts]), torch.cat([part.targets for part in parts]))


def as_counter(images: ImageSet) -> Counter[tuple[bytes, int]]:
    return Counter((image.numpy().tobytes(), int(k)) for image, k in zip(images.images, images.targets, strict=True))


def test_the_digits_are_scikit_learns_scans_rounded_half_up_in_three_equal_channels() -> None:
    train, test = digits()
    images = torch.cat([train.images, test.images])
    assert images.dtype == torch.uint8
    assert images.shape == (1797, 3, 8, 8)
    assert len(test.images) == 360
    source = load_digits()
    expected: Counter[tuple[bytes, int]] = Counter()
    for scan, target in zip(source.images.tolist(), source.target.tolist(), strict=True):
        grey = [(int(value) * 255 * 2 + 16) // 32 for row in scan for value in row]
        expected[bytes(grey * 3), target] += 1
    assert as_counter(ImageSet(images, torch.cat([train.targets, test.targets]))) == expected


def test_the_three_parts_are_disjoint_and_complete() -> None:
    data = ImageData(batch_size=TRAIN)
    data.setup("fit")
    parts = [whole(data.train_dataloader()), whole(data.val_dataloader()), whole(data.test_dataloader())]
    assert [len(part.targets) for part in parts] == [TRAIN, 288, 360]
    train, test = digits()
    together = ImageSet(torch.cat([train.images, test.images]), torch.cat([train.targets, test.targets]))
    assert as_counter(parts[0]) + as_counter(parts[1]) + as_counter(parts[2]) == as_counter(together)


def test_another_split_seed_changes_validation_and_never_test() -> None:
    one, other = ImageData(split_seed=0), ImageData(split_seed=1)
    for data in (one, other):
        data.setup("fit")
    assert torch.equal(whole(one.test_dataloader()).images, whole(other.test_dataloader()).images)
    assert torch.equal(whole(one.predict_dataloader()).images, whole(other.test_dataloader()).images)
    assert as_counter(whole(one.val_dataloader())) != as_counter(whole(other.val_dataloader()))


def test_the_stated_mean_and_deviation_are_those_of_the_training_images() -> None:
    info = DATASETS["digits"]
    images = digits()[0].images.double() / 255
    assert images.mean((0, 2, 3)).tolist() == pytest.approx(info.mean, abs=1e-3)
    assert images.std((0, 2, 3), correction=0).tolist() == pytest.approx(info.std, abs=1e-3)


def test_training_images_without_augmentation_are_the_normalised_images() -> None:
    data = training(ImageData(batch_size=TRAIN, crop="none", magnitude="none"))
    batch = first_batch(data)
    seen = data.on_after_batch_transfer(batch, 0)
    expected = (batch.images.double() / 255 - 0.3053) / 0.3759
    assert seen.images.dtype == torch.float32
    assert torch.allclose(seen.images.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(seen.indices, batch.indices)
    assert torch.equal(seen.targets, batch.targets)


def test_without_a_magnitude_training_images_are_only_shifted_by_up_to_an_eighth() -> None:
    data = training(ImageData(batch_size=256, magnitude="none"))
    batch = first_batch(data)
    offsets: Counter[tuple[int, int]] = Counter()
    for image, seen in zip(batch.images, augmented(data), strict=True):
        framed = torch.zeros(3, 10, 10, dtype=torch.uint8)
        framed[:, 1:9, 1:9] = image
        found = [
            (y, x) for y in range(3) for x in range(3) if torch.equal(framed[:, y : y + 8, x : x + 8], seen)
        ]  # a digit with a black border fits at one place only
        assert found
        offsets[found[0]] += 1
    assert len(offsets) == 9
    assert min(offsets.values()) > 256 / 9 / 3


@pytest.mark.parametrize(("flip", "expected"), [(None, False), (False, False), (True, True)])
def test_digits_are_mirrored_only_where_it_is_asked_for(flip: bool | None, expected: bool) -> None:
    data = training(ImageData(batch_size=512, crop="none", flip=flip))
    images, seen = first_batch(data).images, augmented(data)
    same = (seen == images).flatten(1).all(1)
    mirrored = (seen == images.flip(3)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert data.flip is expected
    assert 200 < int((~same).sum()) < 312 if expected else bool(same.all())


class Recording(Classifier):
    def __init__(self, stages: Stages) -> None:
        super().__init__(CifarResNet(10, depth=8), stages)
        self.trained: list[Batch] = []
        self.validated: list[Batch] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.trained.append(batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated.append(batch)
        super().validation_step(batch, batch_idx)


def test_a_fit_augments_the_training_images_and_not_the_validation_images() -> None:
    data = ImageData(batch_size=128, magnitude=30)
    module = Recording(Stages.parse([{"epochs": 2}]))
    trainer = bare_trainer(
        max_epochs=2,
        limit_train_batches=2,
    )
    trainer.fit(module, datamodule=data)
    validation = whole(data.val_dataloader()).images
    assert len(module.validated) == 2
    for batch in module.validated:
        assert torch.equal(pixels(batch.images), validation)
    train, _ = digits()
    known = {image.numpy().tobytes() for image in train.images}
    seen = [pixels(image).numpy().tobytes() for batch in module.trained for image in batch.images]
    assert len(seen) == 512
    assert sum(image in known for image in seen) < 100
    assert not torch.equal(module.trained[0].indices, module.trained[2].indices)


@pytest.mark.parametrize(("before", "after"), [("none", 30), (30, "none"), (4, "random")])
def test_a_magnitude_set_between_two_batches_holds_from_the_next_one(before: Magnitude, after: Magnitude) -> None:
    constant = {m: training(ImageData(batch_size=128, magnitude=m)) for m in (before, after)}
    changed = training(ImageData(batch_size=128, magnitude=before))
    for number, batch in zip(range(3), changed.train_dataloader(), strict=False):
        if number == 1:
            changed.augmentation.magnitude = after
        images = changed.on_after_batch_transfer(batch, 0).images
        now, other = (before, after) if number == 0 else (after, before)
        assert torch.equal(images, constant[now].on_after_batch_transfer(batch, 0).images)
        assert not torch.equal(images, constant[other].on_after_batch_transfer(batch, 0).images)


def test_augmentation_depends_on_seed_epoch_and_rank_and_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(load_digits().images).to(torch.uint8)[:64, None].repeat(1, 3, 1, 1) * 15
    batch = Batch(images, torch.zeros(64), torch.arange(64), 1)

    def seen(seed: int, epoch: int, rank: int, torch_seed: int = 0) -> bytes:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(torch_seed)
        data = training(ImageData(batch_size=128, magnitude="random"), epoch, rank, world_size=2)
        return data.on_after_batch_transfer(batch, 0).images.numpy().tobytes()

    assert seen(0, 0, 0) == seen(0, 0, 0, torch_seed=1)
    assert len({seen(0, 0, 0), seen(0, 0, 1), seen(0, 1, 0), seen(1, 0, 0)}) == 4


def test_two_batches_of_an_epoch_are_augmented_differently() -> None:
    data = training(ImageData(batch_size=128, magnitude="none"))
    batch = first_batch(data)
    one, two = (data.on_after_batch_transfer(batch._replace(number=number), 0).images for number in (0, 1))
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("settings", "world_size", "message"),
    [
        ({"dataset": "digit"}, 1, "unknown data set 'digit': did you mean digits?"),
        ({"dataset": "mnist"}, 1, "unknown data set 'mnist': did you mean fashion_mnist?"),
        ({"batch_size": 0}, 1, "batch_size is 0: write a whole number, at least 1"),
        ({"eval_batch_size": -1}, 1, "eval_batch_size is -1: write a whole number, at least 1"),
        ({"batch_size": 1150}, 1, "batch_size 1150 is over the 1149 training images: write a smaller one"),
        ({"batch_size": 9}, 2, "batch_size 9 cannot be shared by 2 processes: write a multiple of that"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(settings: dict[str, Any], world_size: int, message: str) -> None:
    with pytest.raises(UserError) as raised:
        training(ImageData(**settings), world_size=world_size)
    assert str(raised.value) == message
