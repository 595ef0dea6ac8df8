"""MixUp and CutMix of training batches, and the loss on what they make."""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torchvision.transforms import v2

from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.modules import Classifier
from dasc.networks import CifarResNet
from dasc.seeding import Stream, mix
from dasc.stages import Stages
from tests.support.files import make_folder
from tests.support.training import bare_trainer

KINDS = ("mixup", "cutmix")
BATCH = 96


def training(kind: str, alpha: float = 1.0, epoch: int = 0, rank: int = 0, **settings: Any) -> ImageData:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    state = SimpleNamespace(training=True, current_epoch=epoch, global_rank=rank, world_size=2, strategy=strategy)
    given: dict[str, Any] = {"batch_size": 2 * BATCH, "mix": kind, "mix_alpha": alpha} | settings
    data = ImageData(**given)
    data.trainer = cast(Trainer, state)
    data.setup("fit")
    return data


def batch_of(data: ImageData, number: int = 0) -> Batch:
    return list(data.train_dataloader())[number]


def mixed(data: ImageData, batch: Batch) -> tuple[Tensor, Tensor]:
    got = data.on_after_batch_transfer(batch, 0)
    assert got.mixed_targets is not None
    assert torch.equal(got.targets, batch.targets)
    assert torch.equal(got.indices, batch.indices)
    return got.images, got.mixed_targets


def unmixed(batch: Batch, **settings: Any) -> Tensor:
    got = training("none", **settings).on_after_batch_transfer(batch, 0)
    assert got.mixed_targets is None
    return got.images


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
@pytest.mark.parametrize(("kind", "mixer"), [("mixup", v2.MixUp), ("cutmix", v2.CutMix)])
def test_a_batch_is_mixed_as_torchvision_does(kind: str, mixer: Any, alpha: float, number: int) -> None:
    settings: dict[str, Any] = {"magnitude": "random", "cutout": 3, "epoch": 2, "rank": 1}
    data = training(kind, alpha, **settings)
    batch = batch_of(data, number)
    images, targets = mixed(data, batch)
    torch.manual_seed(mix(Stream.MIX, 0, 2, 1, number))
    expected = mixer(alpha=alpha, num_classes=10)(unmixed(batch, **settings), batch.targets)
    assert torch.equal(images, expected[0])
    assert torch.equal(targets, expected[1])
    assert (images.dtype, targets.dtype, targets.shape) == (torch.float32, torch.float32, (BATCH, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_the_shares_of_the_classes_sum_to_1(kind: str) -> None:
    data = training(kind)
    for number in range(4):
        _, targets = mixed(data, batch_of(data, number))
        assert targets.sum(1).tolist() == pytest.approx([1.0] * BATCH)
        assert float(targets.min()) >= 0


def share_of(targets: Tensor, batch: Batch) -> float:
    """The share of an image's own class, where that of its partner is another: the same in the whole batch."""
    pairs = enumerate(zip(batch.targets.tolist(), batch.targets.roll(1).tolist(), strict=True))
    shares = {float(targets[k, own]) for k, (own, partner) in pairs if own != partner}
    assert len(shares) == 1
    return shares.pop()


def test_mixup_is_the_weighted_mean_of_an_image_and_the_one_before_it() -> None:
    data = training("mixup")
    seen = set()
    for number in range(4):
        batch = batch_of(data, number)
        images, targets = mixed(data, batch)
        share = share_of(targets, batch)
        plain = unmixed(batch).double()
        expected = share * plain + (1 - share) * plain.roll(1, 0)
        assert torch.allclose(images.double(), expected, rtol=0, atol=1e-5)
        seen.add(share)
    assert len(seen) == 4


def test_cutmix_takes_a_rectangle_whose_area_is_the_partners_share() -> None:
    data = training("cutmix")
    areas = []
    for number in range(5):
        batch = batch_of(data, number)
        images, targets = mixed(data, batch)
        plain = unmixed(batch)
        partner = plain.roll(1, 0)
        # the rectangle is the same in the whole batch: it is where an image is not its own somewhere
        foreign = (images != plain).any(0).any(0)
        assert torch.equal(images, torch.where(foreign, partner, plain))
        rows, columns = int(foreign.any(1).sum()), int(foreign.any(0).sum())
        assert int(foreign.sum()) == rows * columns
        areas.append(rows * columns)
        own, other = batch.targets, batch.targets.roll(1)
        expected = torch.zeros(BATCH, 10)
        for k in range(BATCH):
            expected[k, own[k]] += 1 - areas[-1] / 64
            expected[k, other[k]] += areas[-1] / 64
        assert torch.allclose(targets, expected, rtol=0, atol=1e-6)
    assert len(set(areas)) > 2


def test_a_large_alpha_mixes_in_halves_and_a_small_one_hardly() -> None:
    for alpha, low, high in ((1000.0, 0.4, 0.5), (0.01, 0.0, 0.05)):
        data = training("mixup", alpha)
        smaller = []
        for number in range(5):
            batch = batch_of(data, number)
            share = share_of(mixed(data, batch)[1], batch)
            smaller.append(min(share, 1 - share))
        assert low <= sorted(smaller)[2] <= high


@pytest.mark.parametrize("kind", KINDS)
def test_mixing_depends_on_seed_epoch_rank_and_batch_and_on_nothing_else(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(training(kind, image_size=32))  # at 8x8, CutMix has few different areas

    def seen(seed: int, epoch: int, rank: int, number: int = 0, torch_seed: int = 0) -> list[float]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(torch_seed)
        shares = mixed(training(kind, 0.5, epoch, rank, image_size=32), batch._replace(number=number))[1]
        return cast(list[float], shares.flatten().tolist())

    assert seen(0, 1, 0) == seen(0, 1, 0, torch_seed=1)
    others = [seen(0, 0, 0), seen(0, 0, 1), seen(0, 1, 0), seen(1, 0, 0), seen(0, 0, 0, number=1)]
    assert len({tuple(other) for other in others}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_epoch_mixes_as_an_unbroken_one(kind: str) -> None:
    unbroken = training(kind, magnitude="random")
    for epoch in (0, 1):
        cast(SimpleNamespace, unbroken.trainer).current_epoch = epoch
        last = [mixed(unbroken, batch) for batch in unbroken.train_dataloader()]
    torch.rand(5)  # a process that starts anew has another state
    resumed = training(kind, magnitude="random", epoch=1)
    for batch, (images, targets) in zip(resumed.train_dataloader(), last, strict=True):
        again = mixed(resumed, batch)
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], targets)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_the_global_generator_is_left_as_it_was(kind: str) -> None:
    data = training(kind)
    batch = batch_of(data)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    mixed(data, batch)
    assert torch.equal(torch.get_rng_state(), before)


class Recording(Classifier):
    def __init__(self) -> None:
        super().__init__(CifarResNet(10, depth=8), Stages.parse([{"epochs": 1}]))
        self.trained: list[Batch] = []
        self.others: list[Batch] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.trained.append(batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.others.append(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.others.append(batch)

    def on_validation_epoch_end(self) -> None:
        pass

    def on_test_epoch_end(self) -> None:
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_training_batches_are_mixed_and_validation_and_test_batches_are_not(kind: Any) -> None:
    data, module = ImageData(batch_size=64, mix=kind, cutout=4), Recording()
    trainer = bare_trainer(max_epochs=1, limit_train_batches=2)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    assert [batch.mixed_targets is None for batch in module.trained] == [False, False]
    assert [batch.mixed_targets for batch in module.others] == [None, None]
    for seen, loader in zip(module.others, (data.val_dataloader(), data.test_dataloader()), strict=True):
        (batch,) = loader
        expected = (batch.images.double() / 255 - 0.3053) / 0.3759
        assert torch.allclose(seen.images.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": "mixupp"}, "unknown mix 'mixupp': did you mean mixup or cutmix?"),
        ({"mix": "puzzle"}, "unknown mix 'puzzle'"),
        ({"mix": "mixup", "mix_alpha": 0}, "mix_alpha is 0: write a number over 0"),
        ({"mix_alpha": -0.5}, "mix_alpha is -0.5: write a number over 0"),
        ({"mix_alpha": math.nan}, "mix_alpha is nan: write a number over 0"),
        ({"cutout": 16}, "data.cutout must be <= 8 (the image size), got 16"),
        ({"cutout": 9}, "data.cutout must be <= 8 (the image size), got 9"),
        ({"cutout": 33, "image_size": 32}, "data.cutout must be <= 32 (the image size), got 33"),
        ({"translate": 9}, "data.translate must be <= 8 (the image size), got 9"),
        ({"cutout": 0}, "cutout is 0: write a whole number, at least 1"),
        ({"cutout": -2}, "cutout is -2: write a whole number, at least 1"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        ImageData(**settings)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_cutout_and_translate_may_be_as_large_as_the_image() -> None:
    data = ImageData(cutout=8, translate=8)
    assert (data.cutout, data.translate) == (8, 8)
    assert ImageData(cutout=9, translate=10, image_size=12).image_size == (12, 12)


@pytest.mark.parametrize("name", ["cutout", "translate"])
def test_the_shorter_side_limits_cutout_and_translate(name: str, tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": {"cat": 1, "dog": 1}}, size=(20, 12))
    settings: dict[str, Any] = {name: 13}
    with pytest.raises(UserError, match=re.escape(f"data.{name} must be <= 12 (the shorter image side), got 13")):
        ImageData("folder", str(tmp_path), **settings)


def test_a_run_that_continues_must_have_the_same_cutout_and_mix() -> None:
    default = ImageData().describe()
    assert [default[name] for name in ("cutout", "mix", "mix_alpha")] == [None, "none", 1.0]
    described = ImageData(cutout=5, mix="cutmix", mix_alpha=0.3).describe()
    assert described == default | {"cutout": 5, "mix": "cutmix", "mix_alpha": 0.3}


def cross_entropy(logits: Tensor, shares: list[list[float]]) -> float:
    total = 0.0
    for row, share in zip(logits.double().tolist(), shares, strict=True):
        largest = max(row)
        log_sum = largest + math.log(math.fsum(math.exp(x - largest) for x in row))
        total += math.fsum(q * (log_sum - x) for q, x in zip(share, row, strict=True))
    return total / len(shares)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_mixed_batch_is_the_cross_entropy_with_its_shares(kind: str, smoothing: float) -> None:
    torch.manual_seed(0)
    stages = Stages.parse([{"epochs": 1}])
    module = Classifier(CifarResNet(10, depth=8).eval(), stages, label_smoothing=smoothing)
    data = training(kind)
    batch = data.on_after_batch_transfer(batch_of(data), 0)
    assert batch.mixed_targets is not None
    values = module.loss(batch)
    logits = module.network(batch.images).detach()
    shares = [[(1 - smoothing) * q + smoothing / 10 for q in row] for row in batch.mixed_targets.tolist()]
    assert values["loss"].item() == pytest.approx(cross_entropy(logits, shares), rel=1e-5)
    pairs = zip(logits.tolist(), batch.mixed_targets.tolist(), strict=True)
    hits = sum(row.index(max(row)) == share.index(max(share)) for row, share in pairs)
    assert values["accuracy"].item() == pytest.approx(hits / BATCH)
