"""The data of a run: data sets, splits and loaders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch import Tensor

from dasc.classes import difference_of_classes
from dasc.data import checks
from dasc.data.augmentation import AugmentationState, magnitude_at, parse_magnitude
from dasc.data.batch import Batch
from dasc.data.folder import folder_info
from dasc.data.memory import mean_and_std
from dasc.data.order import EvaluationOrder, TrainingOrder
from dasc.data.pipeline import BatchPipeline, Mix, PipelineConfig, TrainingEpoch
from dasc.data.process import Process, network_dtype, process_of
from dasc.data.sets import DATASETS
from dasc.data.source import Source
from dasc.data.storage import Loader, Storage
from dasc.errors import UserError
from dasc.seeding import run_seed
from dasc.stages import Magnitude

_PARTS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
"""Parts that a stage uses."""


class ImageData(LightningDataModule):
    """Images that are augmented on the device, each process its own share.

    Training batches are cropped at a random place, mirrored where that keeps the class, and brought through RandAugment
    at the magnitude that `augmentation` has at that moment; callbacks and modules write it. All batches are normalised.

    Args:
        dataset: `digits`, `cifar10`, `cifar100`, `fashion_mnist`, `imagenet`, or `folder`: class folders of images
            under train/, and optionally under val/ (also valid/ or validation/) and test/.
        root: Folder that the data set lies in.
        download: Whether a data set that is not there is downloaded, where that is possible.
        batch_size: Images of one optimizer step over all processes.
        eval_batch_size: Images of one evaluation batch over all processes, about.
        magnitude: RandAugment's M: 0..30, `random`, `none`, or `[a, b]`, linear over the trainer's max_epochs. A run of
            `dasc` sets it from the table of stages.
        translate: Pixels that RandAugment's translations reach at M = 30; None: 150/331 of the side, as in torchvision.
            RandAugment's own code for CIFAR has 10. At most the shorter image side.
        image_size: Height and width that images are resized to; None: those of the set (224 for imagenet); of a folder
            of images of one size up to 224, their own, of others min(224, median short side of 256 sampled images).
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

    _pipeline: BatchPipeline | None = None

    def __init__(
        self,
        dataset: str = "digits",
        root: str = "data",
        download: bool = False,
        batch_size: int = 128,
        eval_batch_size: int = 1024,
        magnitude: Magnitude | Sequence[int] = "none",
        translate: int | None = None,
        image_size: int | None = None,
        crop: Literal["pad", "resize", "none"] | None = None,
        flip: bool | None = None,
        cutout: int | None = None,
        mix: Mix = "none",
        mix_alpha: float = 1.0,
        train_size: int | float | None = None,
        split_seed: int = 0,
        on_device: bool | Literal["auto"] = "auto",
        num_workers: int | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        super().__init__()
        checks.check_dataset(dataset, class_names)
        checks.check_sizes({"batch_size": batch_size, "eval_batch_size": eval_batch_size, "image_size": image_size})
        checks.check_sizes({"translate": translate, "cutout": cutout})
        checks.check_mix(mix, mix_alpha)
        checks.check_workers(num_workers)
        self.augmentation = AugmentationState(parse_magnitude(magnitude))
        self.dataset, self.root, self.download = dataset, str(Path(root).expanduser()), download
        is_folder = dataset == "folder"
        self._info = folder_info(Path(self.root), class_names, image_size) if is_folder else DATASETS[dataset]
        self._own_size, self.batch_size, self.eval_batch_size = image_size is None, batch_size, eval_batch_size
        self.image_size = self._info.image_size if image_size is None else (image_size, image_size)
        self.crop, self.flip = crop, self._info.flip if flip is None else flip
        self.translate, self.cutout, self.mix, self.mix_alpha = translate, cutout, mix, mix_alpha
        self._check_extents()
        self.train_size, self.split_seed = checks.whole_count(train_size), split_seed
        self.on_device, self.num_workers = on_device, num_workers
        self.class_names, self.num_classes = self._info.class_names, len(self._info.class_names)
        self.mean, self.std = self._info.mean, self._info.std
        self.source = Source(dataset, self._info, self.root, download, self.train_size, split_seed)

    def _check_extents(self) -> None:
        checks.check_extent("cutout", self.cutout, self.image_size)
        checks.check_extent("translate", self.translate, self.image_size)

    def describe(self) -> dict[str, Any]:
        """Return, as plain data, what must be equal for a run to continue."""
        names = (
            *("dataset", "num_classes", "batch_size", "flip", "cutout", "mix", "mix_alpha"),
            *("translate", "train_size", "split_seed"),
        )
        settings = {name: getattr(self, name) for name in names}
        return settings | {"crop": self._storage.cropping, "image_size": list(self.image_size)}

    def counts(self) -> dict[str, int]:
        """Return the number of images in `train`, `val` and `test`; a part that has none is missing."""
        return {name: len(part.targets) for name, part in self.source.read().items()}

    def use(self, recorded: Mapping[str, Any]) -> None:
        """Give images to the network of a checkpoint as they were given to it in its run.

        Image size, crop of evaluated images, mean, standard deviation and interpolation become those recorded.

        Args:
            recorded: The data of the checkpoint under `dasc`, or the `Preprocessing` of pretrained weights.

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
            if not self._own_size or self._pipeline is not None:
                raise UserError(
                    f"data.image_size must be {checks.size_text(size)}, the image size of the checkpoint, got "
                    f"{checks.size_text(self.image_size)}: leave it out"
                )
            self.image_size = (size[0], size[1])
            self._check_extents()
        self.crop = recorded.get("data", {}).get("crop") or self.crop
        if recorded.get("mean"):
            self.mean, self.std = tuple(recorded["mean"]), tuple(recorded["std"])
            self.source.resize_with(recorded.get("interpolation", "bilinear"))
        if self._pipeline is not None:
            self._pipeline = self._make_pipeline()

    def check_batch_size(self, world_size: int) -> None:
        """Check that a training batch can be shared equally by the processes, and filled.

        Raises:
            UserError: It cannot, or there are no training images.
        """
        self.source.training()
        checks.check_batch(self.batch_size, self.counts()["train"], world_size)

    @property
    def size_origin(self) -> str:
        """How the images of a folder determined `image_size`, in words; empty where they did not."""
        return self._info.size_origin if self.image_size == self._info.image_size else ""

    def resident_bytes(self) -> int:
        """Return the bytes that the training and validation images take as uint8 in memory; 0 if they are streamed."""
        return self._storage.bytes_in_memory(_PARTS["fit"])

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
        self._storage.decode(_PARTS[stage])
        self.measure()
        if stage == "fit" and self.crop == "resize" and not self._storage.streamed:
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
            self.check_batch_size(self._process.world_size)
        self.load(stage)
        for name in _PARTS[stage]:
            self._storage.part(name, self._process.device)
        self._pipeline = self._make_pipeline()

    @property
    def pipeline(self) -> BatchPipeline:
        """What happens to a batch, once the images are set up."""
        assert self._pipeline is not None, "call setup(stage) first"
        return self._pipeline

    def _make_pipeline(self) -> BatchPipeline:
        config = PipelineConfig(
            image_size=self.image_size,
            mean=self.mean,
            std=self.std,
            num_classes=self.num_classes,
            pad=self._storage.cropping == "pad",
            flip=self.flip,
            translate=self.translate,
            cutout=self.cutout,
            mix=self.mix,
            mix_alpha=self.mix_alpha,
        )
        return BatchPipeline(config, self.counts(), self._process.device, network_dtype(self.trainer))

    def train_dataloader(self) -> Loader:
        """Return the training batches of this process."""
        process, count = self._process, self.counts()["train"]
        fixed = getattr(self.trainer, "overfit_batches", 0) > 0
        order = TrainingOrder(count, self.batch_size, run_seed(), process.rank, process.world_size, fixed)
        return self._storage.loader("train", order, process)

    def val_dataloader(self) -> Loader:
        """Return the validation batches of this process."""
        return self._evaluation("val")

    def test_dataloader(self) -> Loader:
        """Return the test batches of this process."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Loader:
        """Return the test batches of this process."""
        return self._evaluation("test")

    def unaugmented(self, name: str, indices: Tensor) -> Tensor:
        """Return the images at `indices` (int64, (N,)) of a part as evaluated images: uint8 (N, 3, *image_size)."""
        return self._storage.images_at(name, indices)

    def _evaluation(self, name: str) -> Loader:
        process = self._process
        order = EvaluationOrder(self.counts()[name], self.eval_batch_size, process.rank, process.world_size)
        return self._storage.loader(name, order, process)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch and normalise any batch."""
        if self.trainer is None or not self.trainer.training:
            return self.pipeline.evaluate(batch, keep=self.trainer is not None and self.trainer.testing)
        return self.pipeline.train(batch, self.augmentation, self.training_epoch())

    def training_epoch(self) -> TrainingEpoch:
        """Return the epoch and the process that the trainer is in, as the pipeline takes them."""
        rank, world_size, _, epoch, epochs = self._process
        return TrainingEpoch(run_seed(), epoch, self.batch_size, rank, world_size, epochs)

    @property
    def magnitude(self) -> Magnitude:
        """RandAugment's M in this epoch: 0..30, `none` or `random`."""
        epoch = self.training_epoch()
        return magnitude_at(self.augmentation.magnitude, epoch.epoch, epoch.epochs)

    @property
    def test_paths(self) -> list[str] | None:
        """The files of the test images, or None if they are not in files of their own."""
        return self.source.test_paths()

    @property
    def _storage(self) -> Storage:
        return Storage(
            *(self.source, self._info.files, self.image_size, self.crop),
            *(self.on_device, self.num_workers),
        )

    @property
    def _process(self) -> Process:
        return process_of(self.trainer)
