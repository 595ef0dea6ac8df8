"""Augmentation and normalisation of batches on their device; no Lightning needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from dasc.augment import Draws, RandAugment, concatenate, crop_and_flip, cutout, draw, magnitudes
from dasc.data.augmentation import AugmentationState, magnitude_at
from dasc.data.batch import Batch
from dasc.seeding import Stream, mix
from dasc.stages import Magnitude

Mix = Literal["none", "mixup", "cutmix"]

MIXERS = {"mixup": v2.MixUp, "cutmix": v2.CutMix}


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of a `BatchPipeline` that do not change during a training.

    Args:
        image_size: Height and width of the images.
        mean: Mean of each channel over the training images, in [0, 1].
        std: Standard deviation of each channel, over 0.
        num_classes: Number of classes, for the targets of MixUp and CutMix.
        pad: Whether training images are padded by an eighth of their height and cropped at a random place.
        flip: Whether training images are mirrored left to right at random.
        translate: Pixels that RandAugment's translations reach at M = 30; None: 150/331 of the side.
        cutout: Side, in pixels, of the square hole in each training image; None: no hole.
        mix: Whether training images of a batch are mixed in pairs, and their labels with them.
        mix_alpha: Parameter of the Beta distribution of an image's share, over 0.
    """

    image_size: tuple[int, int]
    mean: Sequence[float]
    std: Sequence[float]
    num_classes: int
    pad: bool = False
    flip: bool = False
    translate: int | None = None
    cutout: int | None = None
    mix: Mix = "none"
    mix_alpha: float = 1.0


@dataclass(frozen=True)
class TrainingEpoch:
    """One epoch of one process: with the number of a batch, it determines all that is drawn for the batch.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        batch_size: Images of one training batch over all processes.
        rank: Number of this process.
        world_size: Number of processes; divides `batch_size`.
        epochs: Epochs of the training, for a magnitude that changes; None if the number is not known.
    """

    seed: int
    epoch: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    epochs: int | None = None


class BatchPipeline:
    """Makes what a network is trained and scored on from uint8 batches.

    A plain training loop::

        order = TrainingOrder(len(images.targets), batch_size=128, seed=0)
        pipeline = BatchPipeline(config, {"train": len(images.targets)})
        state = AugmentationState(magnitude=Linear(14, 4))
        for epoch in range(10):
            order.set_epoch(epoch)
            for batch in ResidentLoader(images, order):
                batch = pipeline.train(batch, state, TrainingEpoch(0, epoch, 128, epochs=10))

    Args:
        config: The settings.
        counts: Number of images in each part: `train` to make training batches, `val` and `test` for their fixed views.
        device: Where the batches are.
        dtype: Floating-point type of the results.
    """

    def __init__(
        self,
        config: PipelineConfig,
        counts: Mapping[str, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self._counts = dict(counts)
        self._dtype = dtype
        precise = torch.promote_types(dtype, torch.float32)  # half precision is rounded once, at the end
        self._mean = torch.tensor(config.mean, device=device, dtype=precise).view(1, 3, 1, 1)
        self._std = torch.tensor(config.std, device=device, dtype=precise).view(1, 3, 1, 1)
        self._randaugment = RandAugment(*config.image_size, device, config.translate)
        self._draws: dict[tuple[str, int], tuple[tuple[int, int], Draws]] = {}

    @torch.no_grad()
    def train(self, batch: Batch, state: AugmentationState, epoch: TrainingEpoch) -> Batch:
        """Return a training batch: cropped, mirrored, RandAugment, normalised, Cutout, MixUp or CutMix.

        Args:
            batch: Images uint8 (B, 3, H, W), number `batch.number` of the epoch.
            state: Magnitude and number of views.
            epoch: The epoch and the process.

        Returns:
            The batch with normalised images (B, 3, H, W) and, if they are mixed, `mixed_targets`. With n > 1 views, the
            images are (n, B, 3, H, W), `magnitudes` are set, and nothing is mixed.

        Raises:
            UserError: The magnitude changes and the epoch does not name the number of epochs.
        """
        magnitude = magnitude_at(state.magnitude, epoch.epoch, epoch.epochs)
        draws = [self.draws(batch, epoch, view) for view in range(state.views)]
        if state.views > 1:
            return self._views(batch, draws, magnitude)
        images = self._randaugment(self._crop(batch.images, draws[0]), draws[0], magnitude)
        images = self._cut(self.normalise(images), draws[0])
        if self.config.mix == "none":
            return batch._replace(images=images)
        images, targets = self._mix(images, batch, epoch)
        return batch._replace(images=images, mixed_targets=targets)

    @torch.no_grad()
    def evaluate(self, batch: Batch, keep: bool = False) -> Batch:
        """Return a batch with normalised images; `keep` keeps the uint8 images as `unaugmented`, for `test_view`."""
        return batch._replace(images=self.normalise(batch.images), unaugmented=batch.images if keep else None)

    def normalise(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, 3, H, W) to mean 0 and standard deviation 1 over the training images.

        The result has the dtype of the pipeline: in a run, that of the network (float32, or that of `bf16-true`,
        `16-true` and `64-true`).
        """
        return images.to(self._mean.dtype).div_(255).sub_(self._mean).div_(self._std).to(self._dtype)

    def test_view(self, batch: Batch, view: int) -> Tensor:
        """Augment a test batch like training images, with M drawn for each image, and normalise it.

        Each view has its own draws, which depend on the image's place in its split only.

        Args:
            batch: A test batch with its `unaugmented` images.
            view: Number of the view, from 0.

        Returns:
            Floating-point (B, 3, H, W).
        """
        assert batch.unaugmented is not None
        draws = self._fixed_draws(batch, "test", view)
        images = self._randaugment(self._crop(batch.unaugmented, draws), draws, "random")
        return self._cut(self.normalise(images), draws)

    def augmented(self, batch: Batch, part: str, view: int, magnitude: Magnitude) -> Tensor:
        """Apply only RandAugment to a batch of uint8 images, with draws that never change.

        Args:
            batch: A batch of `part` as its loader returns it.
            part: `val` or `test`.
            view: Number of the draws, from 0.
            magnitude: M.

        Returns:
            uint8 (B, 3, H, W).
        """
        return self._randaugment(batch.images, self._fixed_draws(batch, part, view), magnitude)

    def draws(self, batch: Batch, epoch: TrainingEpoch, view: int = 0) -> Draws:
        """Return the random draws of a view of a training batch."""
        size = epoch.batch_size // epoch.world_size
        count = self._counts["train"] // epoch.batch_size * size
        seed = mix(Stream.AUGMENTATION, epoch.seed, epoch.epoch, epoch.rank, view)
        return self._draw("train", view, seed, count).rows(batch.number * size, (batch.number + 1) * size)

    def _fixed_draws(self, batch: Batch, part: str, view: int) -> Draws:
        return self._draw(part, view, mix(Stream.EVALUATION, view), self._counts[part]).at(batch.indices.cpu())

    def _draw(self, part: str, view: int, seed: int, count: int) -> Draws:
        """Draw for all images of a part at once; a view's draws are kept until their seed or count changes."""
        kept = self._draws.get((part, view))
        if kept is None or kept[0] != (seed, count):
            kept = (seed, count), draw(count, torch.Generator().manual_seed(seed))
            self._draws[part, view] = kept
        return kept[1]

    def _views(self, batch: Batch, draws: list[Draws], magnitude: Magnitude) -> Batch:
        """Make views that differ in RandAugment only: crop, flip and hole are those of the first."""
        views, every = len(draws), concatenate(draws)
        cropped = self._crop(batch.images, draws[0])
        images = self.normalise(self._randaugment(cropped.repeat(views, 1, 1, 1), every, magnitude))
        images = self._cut(images, concatenate([draws[0]] * views))
        bins = magnitudes(every, magnitude).view(views, -1)
        return batch._replace(
            images=images.view(views, *batch.images.shape),
            magnitudes=bins.to(images.device, non_blocking=True),
        )

    def _crop(self, images: Tensor, draws: Draws) -> Tensor:
        padding = self.config.image_size[0] // 8 if self.config.pad else 0
        return crop_and_flip(images, draws, padding, self.config.flip)

    def _cut(self, images: Tensor, draws: Draws) -> Tensor:
        return images if self.config.cutout is None else cutout(images, draws, self.config.cutout)

    def _mix(self, images: Tensor, batch: Batch, epoch: TrainingEpoch) -> tuple[Tensor, Tensor]:
        mixer = MIXERS[self.config.mix](alpha=self.config.mix_alpha, num_classes=self.config.num_classes)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's own generator
            torch.default_generator.manual_seed(mix(Stream.MIX, epoch.seed, epoch.epoch, epoch.rank, batch.number))
            mixed: tuple[Tensor, Tensor] = mixer(images, batch.targets)
        return mixed
