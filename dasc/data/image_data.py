"""The data of a run: sets, splits, loaders, and what happens to a batch before the network sees it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torchvision.transforms import v2

from dasc.augment import Draws, RandAugment, crop_and_flip, cutout, draw, magnitudes, together
from dasc.classes import difference_of_classes
from dasc.data.batch import Batch
from dasc.data.decode import BrokenFilesError
from dasc.data.folder import folder_info
from dasc.data.memory import DEVICE_LIMIT, bytes_of, in_memory, mean_and_std
from dasc.data.order import EvaluationOrder, TrainingOrder
from dasc.data.resident import ResidentLoader
from dasc.data.sets import DATASETS, AnySet, ImageSet
from dasc.data.source import Source
from dasc.data.streamed import StreamedLoader
from dasc.errors import UserError, one_of
from dasc.machine import cores
from dasc.seeding import Stream, mix, run_seed
from dasc.stages import Magnitude

Loader = ResidentLoader | StreamedLoader

_PARTS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
"""Parts that a stage uses."""

_MIXERS = {"mixup": v2.MixUp, "cutmix": v2.CutMix}


class ImageData(LightningDataModule):
    """Images that are augmented on the device, each process its own share.

    Training batches are cropped at a random place, mirrored where that keeps the class, and brought through RandAugment
    at `magnitude` as it is at that moment. All batches are normalised.

    Args:
        dataset: `digits`, `cifar10`, `cifar100`, `fashion_mnist`, `imagenet`, or `folder`: class folders of images
            under train/, and optionally under val/ (also valid/ or validation/) and test/.
        root: Folder that the data set lies in.
        download: Whether a data set that is not there is downloaded, where that is possible.
        batch_size: Images of one optimizer step over all processes.
        eval_batch_size: Images of one evaluation batch over all processes, about.
        magnitude: RandAugment's M: 0..30, `random` or `none`. A run of `dasc` sets it from the table of stages.
        translate: Pixels that RandAugment's translations reach at M = 30; None: 150/331 of the side, as in torchvision.
            RandAugment's own code for CIFAR has 10. At most the shorter image side.
        image_size: Height and width that images are brought to; None: those of the set (224 for imagenet), or of a
            folder's first image.
        crop: How training images are cropped: `pad` shifts them by up to an eighth of their side, `resize` takes a
            random part as Inception was trained, `none` takes them whole; None: `resize` for streamed images, else
            `pad`.
        flip: Whether training images are mirrored left to right; None: where that keeps the class.
        cutout: Side, in pixels, of the square hole that is cut into each training image; None: no hole. At most the
            shorter image side.
        mix: Whether training images of a batch are mixed in pairs, and their labels with them: `mixup` or `cutmix`.
        mix_alpha: Parameter of the Beta distribution that the share of an image is drawn from, over 0.
        train_size: Training images that are used, a count or a share up to 1.0, stratified; None uses all.
        split_seed: Seed of the validation part, where it is split from the training images, and of `train_size`.
        on_device: Whether the images lie on the device as uint8; `auto`: where they take less than 1 GiB. Files that
            do not are streamed through workers.
        num_workers: Processes that decode streamed images; None: one for each core of this process, at most 16.
        class_names: Names of the classes of a `folder` in the order of their numbers; None: the class folders under
            train/, sorted. To score a checkpoint, `dasc` gives those of the checkpoint, and train/ may be missing.

    Raises:
        UserError: The data set is unknown or not there, or a setting is out of its range.
    """

    def __init__(
        self,
        dataset: str = "digits",
        root: str = "data",
        download: bool = False,
        batch_size: int = 128,
        eval_batch_size: int = 1024,
        magnitude: Magnitude = "none",
        translate: int | None = None,
        image_size: int | None = None,
        crop: Literal["pad", "resize", "none"] | None = None,
        flip: bool | None = None,
        cutout: int | None = None,
        mix: Literal["none", "mixup", "cutmix"] = "none",
        mix_alpha: float = 1.0,
        train_size: int | float | None = None,
        split_seed: int = 0,
        on_device: bool | Literal["auto"] = "auto",
        num_workers: int | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        super().__init__()
        if dataset not in DATASETS and dataset != "folder":
            raise UserError(one_of("data set", dataset, [*DATASETS, "folder"]))
        if class_names is not None:
            _check_class_names(class_names, dataset)
        sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size}
        sizes |= {} if image_size is None else {"image_size": image_size}
        sizes |= {} if translate is None else {"translate": translate}
        sizes |= {} if cutout is None else {"cutout": cutout}
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"{name} is {size}: write a whole number, at least 1")
        if mix not in ("none", *_MIXERS):
            raise UserError(one_of("mix", mix, ("none", *_MIXERS)))
        if not 0 < mix_alpha < math.inf:
            raise UserError(f"mix_alpha is {mix_alpha}: write a number over 0")
        if num_workers is not None and num_workers < 0:
            raise UserError(f"num_workers is {num_workers}: write a whole number, at least 0")
        place = Path(root).expanduser()
        self._info = folder_info(place, class_names) if dataset == "folder" else DATASETS[dataset]
        self.dataset = dataset
        self.root = str(place)
        self.download = download
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.magnitude = magnitude
        self.translate = translate
        self._own_size = image_size is None
        self.image_size = self._info.image_size if image_size is None else (image_size, image_size)
        self.crop = crop
        self.flip = self._info.flip if flip is None else flip
        self.cutout = cutout
        self._check_extents()
        self.mix = mix
        self.mix_alpha = mix_alpha
        self.views = 1
        """Augmented views of each training image that a batch has; a module that selects among them sets it."""
        # a union of int and float may be parsed as either, by the order in which typing cached it
        if isinstance(train_size, float) and train_size > 1 and train_size.is_integer():
            train_size = int(train_size)
        self.train_size = train_size
        self.split_seed = split_seed
        self.on_device = on_device
        self.num_workers = num_workers
        self.class_names = self._info.class_names
        self.num_classes = len(self._info.class_names)
        self.mean = self._info.mean
        self.std = self._info.std
        self.source = Source(dataset, self._info, self.root, download, self.train_size, split_seed)
        self._draws: dict[tuple[str, int], tuple[tuple[int, int], Draws]] = {}

    def _check_extents(self) -> None:
        _check_extent("cutout", self.cutout, self.image_size)
        _check_extent("translate", self.translate, self.image_size)

    def describe(self) -> dict[str, Any]:
        """Return, as plain data, what must be equal for a run to continue."""
        names = (
            *("dataset", "num_classes", "batch_size", "flip", "cutout", "mix", "mix_alpha"),
            *("translate", "train_size", "split_seed"),
        )
        settings = {name: getattr(self, name) for name in names}
        return settings | {"crop": self._crop, "image_size": list(self.image_size)}

    def counts(self) -> dict[str, int]:
        """Return the number of images in `train`, `val` and `test`; a part that has none is missing."""
        return {name: len(part.targets) for name, part in self.source.read().items()}

    def use(self, recorded: Mapping[str, Any]) -> None:
        """Give images to the network of a checkpoint as they were given to it in its run.

        The image size, the crop of evaluated images, mean and standard deviation become those of the checkpoint.

        Args:
            recorded: The data of the checkpoint under `dasc`.

        Raises:
            UserError: The classes are others, or `image_size` was given and is another.
        """
        difference = difference_of_classes(recorded.get("classes", ()), self.class_names)
        if difference:
            raise UserError(
                f"the checkpoint was trained on other classes: {difference}: rename the class folders, or give the "
                "checkpoint of these classes"
            )
        size = tuple(recorded.get("image_size", ())) or self.image_size
        if size != self.image_size:
            if not self._own_size or self._is_decoded:
                raise UserError(
                    f"data.image_size must be {_size_text(size)}, the image size of the checkpoint, got "
                    f"{_size_text(self.image_size)}: leave it out"
                )
            self.image_size = (size[0], size[1])
            self._check_extents()
        self.crop = recorded.get("data", {}).get("crop") or self.crop
        if recorded.get("mean"):
            self.mean, self.std = tuple(recorded["mean"]), tuple(recorded["std"])
        if self._is_decoded:
            self._set_normalisation()

    def check_batch_size(self, world_size: int) -> None:
        """Check that a training batch can be shared equally by the processes, and filled.

        Raises:
            UserError: It cannot, or there are no training images.
        """
        self.source.training()
        if self.batch_size % world_size:
            raise UserError(
                f"batch_size {self.batch_size} cannot be shared by {world_size} processes: write a multiple of that"
            )
        images = self.counts()["train"]
        if self.batch_size > images:
            raise UserError(f"batch_size {self.batch_size} is over the {images} training images: write a smaller one")

    def prepare_data(self) -> None:
        """Download what is missing, in one process of each machine."""
        self.source.read()

    def load(self, stage: str = "fit") -> None:
        """Read the images of a stage, and decode those that are kept in memory.

        Args:
            stage: `fit` (training and validation images), `validate`, `test` or `predict`. A loader of another stage
                decodes its images when it is made.

        Raises:
            UserError: Some files are no images, or the images cannot be cropped as asked for.
        """
        if stage == "fit":
            self.source.training()
        self._decode(_PARTS[stage])
        self.measure()
        if stage == "fit" and self.crop == "resize" and not self._streamed:
            raise UserError("crop: resize needs images streamed from files: set on_device to false, or crop to pad")

    def measure(self) -> None:
        """Measure mean and standard deviation on the training images where the data set does not give them.

        Raises:
            UserError: Some of the training images cannot be read.
        """
        if not self.mean:
            self.mean, self.std = mean_and_std(self.source.training(), self.image_size)

    def setup(self, stage: str) -> None:
        """Load the images of a stage and keep them on the device where they fit."""
        if stage == "fit":
            self.check_batch_size(self._world_size)
        self.load(stage)
        for name in _PARTS[stage]:
            self._part(name)
        self._set_normalisation()
        self._randaugment = RandAugment(*self.image_size, self._device, self.translate)

    def _set_normalisation(self) -> None:
        self._dtype = _network_dtype(self.trainer)
        dtype = torch.promote_types(self._dtype, torch.float32)  # half precision is rounded once, at the end
        self._mean = torch.tensor(self.mean, device=self._device, dtype=dtype).view(1, 3, 1, 1)
        self._std = torch.tensor(self.std, device=self._device, dtype=dtype).view(1, 3, 1, 1)

    def train_dataloader(self) -> Loader:
        """Return the training batches of this process."""
        count = self.counts()["train"]
        fixed = getattr(self.trainer, "overfit_batches", 0) > 0
        order = TrainingOrder(count, self.batch_size, run_seed(), self._rank, self._world_size, fixed)
        return self._loader("train", order)

    def val_dataloader(self) -> Loader:
        """Return the validation batches of this process."""
        return self._evaluation("val")

    def test_dataloader(self) -> Loader:
        """Return the test batches of this process."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Loader:
        """Return the test batches of this process."""
        return self._evaluation("test")

    @torch.no_grad()
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch and normalise any batch."""
        if self.trainer is None or not self.trainer.training:
            kept = batch.images if self.trainer is not None and self.trainer.testing else None
            return batch._replace(images=self.normalise(batch.images), unaugmented=kept)
        draws = [self._draws_of(batch, view) for view in range(self.views)]
        if self.views > 1:
            return self._views_of(batch, draws)
        images = self._cut(self.normalise(self.augment(batch.images, draws[0])), draws[0])
        if self.mix == "none":
            return batch._replace(images=images)
        images, targets = self._mixed(images, batch)
        return batch._replace(images=images, mixed_targets=targets)

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop, mirror and RandAugment uint8 (B, 3, H, W)."""
        return self._randaugment(self._cropped(images, draws), draws, self.magnitude)

    def test_view(self, batch: Batch, view: int) -> Tensor:
        """Augment a test batch as training images are, with M drawn for each image, and normalise it.

        Each view has draws of its own, which depend on the image's place in its split and on nothing else.

        Args:
            batch: A batch of a test.
            view: Number of the view, from 0.
        """
        assert batch.unaugmented is not None
        draws = self._fixed_draws(batch, "test", view)
        images = self._randaugment(self._cropped(batch.unaugmented, draws), draws, "random")
        return self._cut(self.normalise(images), draws)

    def augmented(self, batch: Batch, part: str, view: int, magnitude: Magnitude) -> Tensor:
        """Apply RandAugment, and nothing else, to a batch of uint8 images under draws that never change.

        Args:
            batch: A batch of `part` as its loader gives it.
            part: `val` or `test`.
            view: Number of the draws, from 0.
            magnitude: M.

        Returns:
            uint8 (B, 3, H, W).
        """
        return self._randaugment(batch.images, self._fixed_draws(batch, part, view), magnitude)

    def _fixed_draws(self, batch: Batch, part: str, view: int) -> Draws:
        return self._drawn(part, view, mix(Stream.EVALUATION, view), self.counts()[part]).at(batch.indices.cpu())

    def _views_of(self, batch: Batch, draws: list[Draws]) -> Batch:
        """Make views that differ in RandAugment only: crop, flip and hole are those of the first."""
        every = together(draws)
        cropped = self._cropped(batch.images, draws[0])
        images = self.normalise(self._randaugment(cropped.repeat(self.views, 1, 1, 1), every, self.magnitude))
        images = self._cut(images, together([draws[0]] * self.views))
        bins = magnitudes(every, self.magnitude).view(self.views, -1)
        return batch._replace(
            images=images.view(self.views, *batch.images.shape),
            magnitudes=bins.to(images.device, non_blocking=True),
        )

    def _cropped(self, images: Tensor, draws: Draws) -> Tensor:
        padding = self.image_size[0] // 8 if self._crop == "pad" else 0
        return crop_and_flip(images, draws, padding, self.flip)

    def _cut(self, images: Tensor, draws: Draws) -> Tensor:
        return images if self.cutout is None else cutout(images, draws, self.cutout)

    def _mixed(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        mixer = _MIXERS[self.mix](alpha=self.mix_alpha, num_classes=self.num_classes)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's own generator
            torch.default_generator.manual_seed(mix(Stream.MIX, run_seed(), self._epoch, self._rank, batch.number))
            mixed: tuple[Tensor, Tensor] = mixer(images, batch.targets)
        return mixed

    def normalise(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, 3, H, W) to mean 0 and standard deviation 1 over the training images.

        The result has the dtype of the network: float32, or that of `bf16-true`, `16-true` and `64-true`.
        """
        return images.to(self._mean.dtype).div_(255).sub_(self._mean).div_(self._std).to(self._dtype)

    @property
    def test_paths(self) -> list[str] | None:
        """The files of the test images, or None if they are not in files of their own."""
        return self.source.test_paths()

    def _decode(self, names: Sequence[str]) -> None:
        """Decode or resize the parts that are kept in memory.

        Raises:
            UserError: A part has no images, or some files cannot be read; it names all of them.
        """
        sets, broken = self.source.read(), dict[str, str]()
        for name in names:
            if name not in sets:
                raise UserError(f"there are no {name} images under {self.root}: put them into class folders in {name}/")
            part = sets[name]
            if self._resident or isinstance(part, ImageSet):
                try:
                    sets[name] = in_memory(part, self.image_size, self._margin)
                except BrokenFilesError as error:
                    broken |= error.broken
        if broken:
            raise BrokenFilesError(broken)

    def _part(self, name: str) -> AnySet:
        """Return the images of a part; decode them and move them to the device on first use."""
        self._decode((name,))
        sets = self.source.read()
        part = sets[name]
        if self._resident and isinstance(part, ImageSet):
            part = sets[name] = part.to(self._device)
        return part

    @property
    def _resident(self) -> bool:
        if self.on_device == "auto":
            return bytes_of(sum(self.counts().values()), self.image_size) < DEVICE_LIMIT
        return self.on_device

    @property
    def _crop(self) -> str:
        return self.crop or ("resize" if self._streamed else "pad")

    @property
    def _streamed(self) -> bool:
        return self._info.files and not self._resident

    @property
    def _margin(self) -> float:
        """How much larger than their middle, which is kept, evaluated images are made."""
        return 256 / 224 if self._crop == "resize" else 1.0

    @property
    def _is_decoded(self) -> bool:
        return hasattr(self, "_mean")

    def _evaluation(self, name: str) -> Loader:
        order = EvaluationOrder(self.counts()[name], self.eval_batch_size, self._rank, self._world_size)
        return self._loader(name, order)

    def _loader(self, name: str, order: TrainingOrder | EvaluationOrder) -> Loader:
        part = self._part(name)
        if isinstance(part, ImageSet):
            return ResidentLoader(part, order)
        return StreamedLoader(
            part,
            self.image_size,
            order,
            seed=run_seed(),
            random_crop=name == "train" and self._crop == "resize",
            margin=self._margin,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )

    @property
    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        return min(16, max(1, cores() // self._world_size))

    def _draws_of(self, batch: Batch, view: int = 0) -> Draws:
        size = self.batch_size // self._world_size
        count = self.counts()["train"] // self.batch_size * size
        seed = mix(Stream.AUGMENTATION, run_seed(), self._epoch, self._rank, view)
        return self._drawn("train", view, seed, count).rows(batch.number * size, (batch.number + 1) * size)

    def _drawn(self, part: str, view: int, seed: int, count: int) -> Draws:
        """Draw for all images of a part at once; a view's draws are kept until their seed or count is another."""
        kept = self._draws.get((part, view))
        if kept is None or kept[0] != (seed, count):
            kept = (seed, count), draw(count, torch.Generator().manual_seed(seed))
            self._draws[part, view] = kept
        return kept[1]

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")


def _check_class_names(names: Sequence[str], dataset: str) -> None:
    if dataset != "folder":
        raise UserError(f"data.class_names is for data.dataset folder, got it with {dataset}: leave it out")
    if not names or len(set(names)) < len(names):
        raise UserError(f"data.class_names must be different names, got {list(names)}")


def _size_text(size: Sequence[int]) -> str:
    return str(size[0]) if len(set(size)) == 1 else "x".join(map(str, size))


def _check_extent(name: str, pixels: int | None, size: tuple[int, int]) -> None:
    """Check that a length in pixels is not larger than the image."""
    limit = min(size)
    if pixels is not None and pixels > limit:
        side = "the image size" if size[0] == size[1] else "the shorter image side"
        raise UserError(f"data.{name} must be <= {limit} ({side}), got {pixels}")


def _network_dtype(trainer: Any) -> torch.dtype:
    """Return the dtype that the precision plugin of a trainer gives to floating-point inputs."""
    plugin = getattr(trainer, "precision_plugin", None)
    dtype: torch.dtype = torch.float32 if plugin is None else plugin.convert_input(torch.zeros(())).dtype
    return dtype
