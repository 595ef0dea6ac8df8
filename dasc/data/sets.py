"""The data sets that dasc knows by name, what is known of each before it is read, and how it is read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets, models

from dasc.errors import UserError, one_line


class ImageSet(NamedTuple):
    """Images with their classes, in memory."""

    images: Tensor
    """uint8 (N, 3, H, W)."""
    targets: Tensor
    """int64 (N,)."""

    def subset(self, indices: Tensor) -> "ImageSet":
        """Return the images at `indices` (int64), in that order."""
        return ImageSet(self.images[indices], self.targets[indices])

    def to(self, device: torch.device) -> "ImageSet":
        """Return the set on a device."""
        return ImageSet(self.images.to(device), self.targets.to(device))


class FileSet(NamedTuple):
    """Images with their classes, in files."""

    paths: list[str]
    targets: Tensor
    """int64 (N,)."""
    folder: str = ""
    """The folder with the class folders, a prefix of all paths."""

    def subset(self, indices: Tensor) -> "FileSet":
        """Return the files at `indices` (int64), in that order."""
        return FileSet([self.paths[i] for i in indices.tolist()], self.targets[indices], self.folder)

    def names(self) -> list[str]:
        """Return the paths relative to the folder, with `/` on every platform."""
        start = len(self.folder)
        return [path[start:].replace(os.sep, "/").lstrip("/") for path in self.paths]


AnySet = ImageSet | FileSet


class Parts(NamedTuple):
    """A data set as its reader returns it. A missing `val` or `test` is split from the training images."""

    train: AnySet | None
    val: AnySet | None
    test: AnySet | None


@dataclass(frozen=True)
class SetInfo:
    """What is known of a data set before it is read.

    Args:
        class_names: Names of the classes in the order of their numbers.
        image_size: Height and width, as they are or as they are brought to.
        flip: Whether an image mirrored left to right keeps its class.
        read: Returns the images, given the folder they are in and whether they may be downloaded.
        validation: Share of the training images in each part that is split off, for validation and test images.
        mean: Mean of each channel in [0, 1]; empty: measured on the training images.
        std: Standard deviation of each channel in [0, 1]; empty: measured on the training images.
        files: Whether each image is a file.
        all_classes: Whether training needs images of every class.
        size_origin: How `image_size` was chosen, for `dasc plan`; empty where it was not chosen by the images.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    flip: bool
    read: Callable[[Path, bool], Parts]
    validation: float = 0.1
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    files: bool = False
    all_classes: bool = False
    size_origin: str = ""


def _digits(root: Path, download: bool) -> Parts:
    """Read the 1797 digits that ship with scikit-learn: 8x8 scans with values 0..16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = torch.from_numpy(np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8))
    return Parts(ImageSet(_three_channels(grey), torch.from_numpy(digits.target).long()), None, None)


def _in_memory(kind: Any) -> Callable[[Path, bool], Parts]:
    """Return the reader of a data set that torchvision keeps as one array."""

    def read(root: Path, download: bool) -> Parts:
        train, test = (_array_set(_open(kind, root, train=train, download=download)) for train in (True, False))
        return Parts(train, None, test)

    return read


def _array_set(source: Any) -> ImageSet:
    images = torch.as_tensor(source.data)
    images = _three_channels(images) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.as_tensor(source.targets).long())


def _imagenet(root: Path, download: bool) -> Parts:
    """Read ImageNet's archives or class folders; its validation images are the test images here."""
    trains = (root / "train").is_dir() or (root / "ILSVRC2012_img_train.tar").is_file()
    test = _file_set(_open(datasets.ImageNet, root, split="val"))
    return Parts(_file_set(_open(datasets.ImageNet, root, split="train")) if trains else None, None, test)


def _file_set(source: Any) -> FileSet:
    paths, targets = [path for path, _ in source.samples], [target for _, target in source.samples]
    return FileSet(paths, torch.tensor(targets), source.split_folder)


def _open(kind: Any, root: Path, **settings: Any) -> Any:
    try:
        return kind(root=str(root), **settings)
    except URLError as error:
        raise UserError(
            f"data.download must be false without an internet connection, got true ({kind.__name__}: {error.reason}): "
            f"copy the files of {kind.__name__} to {root}, or set data.root to where they are"
        ) from error
    except (RuntimeError, FileNotFoundError, NotADirectoryError) as error:
        remedy = "set data.root to where it lies"
        if "download" in settings:
            remedy += ", or data.download to true"
        reason = one_line(error)
        raise UserError(f"{kind.__name__} cannot be read from {root} ({reason}): {remedy}") from None


def _three_channels(grey: Tensor) -> Tensor:
    return grey[:, None].repeat(1, 3, 1, 1)


_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
).split()
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

DATASETS = {
    "digits": SetInfo(
        tuple("0123456789"), (8, 8), False, _digits, validation=0.2, mean=(0.3053,) * 3, std=(0.3759,) * 3
    ),
    "cifar10": SetInfo(
        *(_CIFAR10, (32, 32), True, _in_memory(datasets.CIFAR10)),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": SetInfo(
        *(tuple(_CIFAR100), (32, 32), True, _in_memory(datasets.CIFAR100)),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "fashion_mnist": SetInfo(
        *(_FASHION, (28, 28), True, _in_memory(datasets.FashionMNIST)),
        mean=(0.2860,) * 3,
        std=(0.3530,) * 3,
    ),
    "imagenet": SetInfo(
        *(tuple(models.ResNet50_Weights.IMAGENET1K_V2.meta["categories"]), (224, 224), True, _imagenet),
        files=True,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
}
"""By the name that `ImageData(dataset=...)` takes; `folder` stands beside them."""
