"""The data of a run: sets, splits, loaders, and what happens to a batch before the network sees it."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from dasc.augment import Draws, RandAugment, crop_and_flip, draw
from dasc.data.batch import Batch
from dasc.data.resident import EvaluationLoader, TrainingLoader
from dasc.data.sets import DATASETS, ImageSet
from dasc.data.splits import stratified_split
from dasc.errors import UserError, one_of
from dasc.seeding import mix, run_seed
from dasc.stages import Magnitude


class ImageData(LightningDataModule):
    """Images that are augmented on the device, each process its own share.

    Training batches are cropped at a random place (padding one eighth of the side), mirrored where that keeps the
    class, and brought through RandAugment at `magnitude` as it is at that moment. All batches are normalised.

    Args:
        dataset: Name of the data set: `digits`.
        batch_size: Images of one optimizer step over all processes.
        eval_batch_size: Images of one evaluation batch over all processes, at most.
        magnitude: RandAugment's M: 0..30, `random` or `none`. A run of `dasc` sets it from the table of stages.
        crop: Whether training images are cropped at a random place.
        flip: Whether training images are mirrored left to right; None: where that keeps the class.
        split_seed: Seed of the validation split, which is carved from the training images.

    Raises:
        UserError: The data set is unknown, or a size is not positive.
    """

    def __init__(
        self,
        dataset: str = "digits",
        batch_size: int = 128,
        eval_batch_size: int = 1024,
        magnitude: Magnitude = "none",
        crop: bool = True,
        flip: bool | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        if dataset not in DATASETS:
            raise UserError(one_of("data set", dataset, DATASETS))
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size < 1:
                raise UserError(f"{name} is {size}: write a whole number, at least 1")
        info = DATASETS[dataset]
        self.dataset = dataset
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.magnitude = magnitude
        self.crop = crop
        self.flip = info.flip if flip is None else flip
        self.split_seed = split_seed
        self.class_names = info.class_names
        self.num_classes = len(info.class_names)
        self.image_size = info.image_size
        self.mean = info.mean
        self.std = info.std
        self._sets: dict[str, ImageSet] = {}
        self._draws: tuple[tuple[int, int], Draws] | None = None

    def describe(self) -> dict[str, Any]:
        """Return, as plain data, what must be equal for a run to continue."""
        names = ("dataset", "batch_size", "crop", "flip", "split_seed")
        return {name: getattr(self, name) for name in names}

    def check_batch_size(self, world_size: int) -> None:
        """Check that a training batch can be filled, and shared equally by the processes.

        Raises:
            UserError: It cannot.
        """
        images = len(self._read()["train"].targets)
        if self.batch_size > images:
            raise UserError(f"batch_size {self.batch_size} is over the {images} training images: write a smaller one")
        if self.batch_size % world_size:
            raise UserError(
                f"batch_size {self.batch_size} cannot be shared by {world_size} processes: write a multiple of that"
            )

    def setup(self, stage: str) -> None:
        """Bring the images to the device."""
        if stage == "fit":
            self.check_batch_size(self._world_size)
        self._sets = {name: part.to(self._device) for name, part in self._read().items()}
        self._mean = torch.tensor(self.mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.std, device=self._device).view(1, 3, 1, 1)
        self._randaugment = RandAugment(*self.image_size, device=self._device)

    def train_dataloader(self) -> TrainingLoader:
        """Return the training batches of this process."""
        return TrainingLoader(self._sets["train"], self.batch_size, run_seed(), self._rank, self._world_size)

    def val_dataloader(self) -> EvaluationLoader:
        """Return the validation batches of this process."""
        return EvaluationLoader(self._sets["val"], self.eval_batch_size, self._rank, self._world_size)

    def test_dataloader(self) -> EvaluationLoader:
        """Return the test batches of this process."""
        return EvaluationLoader(self._sets["test"], self.eval_batch_size, self._rank, self._world_size)

    def predict_dataloader(self) -> EvaluationLoader:
        """Return the test batches of this process."""
        return self.test_dataloader()

    @torch.no_grad()
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch and normalise any batch."""
        images = batch.images
        if self.trainer is not None and self.trainer.training:
            images = self.augment(images, self._draws_of(batch))
        return batch._replace(images=self.normalise(images))

    def _read(self) -> dict[str, ImageSet]:
        if not self._sets:
            info = DATASETS[self.dataset]
            train, test = info.read()
            fit, validation = stratified_split(train.targets, info.validation, self.split_seed)
            self._sets = {"train": train.subset(fit), "val": train.subset(validation), "test": test}
        return self._sets

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop, mirror and RandAugment uint8 (B, 3, H, W)."""
        padding = self.image_size[0] // 8 if self.crop else 0
        return self._randaugment(crop_and_flip(images, draws, padding, self.flip), draws, self.magnitude)

    def normalise(self, images: Tensor) -> Tensor:
        """Bring uint8 (B, 3, H, W) to float32 of mean 0 and standard deviation 1 over the training images."""
        return images.float().div_(255).sub_(self._mean).div_(self._std)

    def _draws_of(self, batch: Batch) -> Draws:
        epoch = self.trainer.current_epoch if self.trainer else 0
        size = self.batch_size // self._world_size
        count = len(self._sets["train"].targets) // self.batch_size * size
        key = (mix(run_seed(), epoch, self._rank, 1), count)
        if self._draws is None or self._draws[0] != key:
            self._draws = (key, draw(count, torch.Generator().manual_seed(key[0])))
        return self._draws[1].rows(batch.number * size, (batch.number + 1) * size)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
