"""Small data sets on disk, in the formats that dasc reads, and what breaks them."""

import os
import pickle
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torchvision import datasets

Pixels = npt.NDArray[np.uint8]

WNIDS = ("n01440764", "n01443537", "n02102040")
"""Tench, goldfish and English springer."""


class Made(NamedTuple):
    """What a maker wrote: images (N, H, W, 3) or (N, H, W), and classes."""

    train: Pixels
    train_targets: list[int]
    test: Pixels
    test_targets: list[int]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def accept_made_files(patch: pytest.MonkeyPatch) -> None:
    """Let torchvision read files that have not the checksums of the real ones."""
    patch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: os.path.isfile(path))


def make_cifar(root: Path, classes: int, train: int, test: int) -> Made:
    """Write CIFAR-10 or CIFAR-100 as its makers pickled it, with so many images of each class."""
    kind = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    label = "labels" if classes == 10 else "fine_labels"
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    made = _made(classes, train, test, (32, 32, 3))
    for names, images, targets in (
        (kind.train_list, made.train, made.train_targets),
        (kind.test_list, made.test, made.test_targets),
    ):
        places = np.array_split(np.arange(len(targets)), len(names))
        for (name, _), here in zip(names, places, strict=True):
            # a row is the red plane, then the green, then the blue one
            rows = images[here].transpose(0, 3, 1, 2).reshape(len(here), -1)
            _pickle(folder / name, {"data": rows, label: [targets[place] for place in here]})
    _pickle(folder / kind.meta["filename"], {kind.meta["key"]: [f"class {number}" for number in range(classes)]})
    return made


def make_fashion_mnist(root: Path, train: int, test: int) -> Made:
    """Write Fashion-MNIST's idx files, unpacked, with so many images of each of its 10 classes."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    made = _made(10, train, test, (28, 28))
    for name, images, targets in (
        ("train", made.train, made.train_targets),
        ("t10k", made.test, made.test_targets),
    ):
        _idx(folder / f"{name}-images-idx3-ubyte", images)
        _idx(folder / f"{name}-labels-idx1-ubyte", np.array(targets, dtype=np.uint8))
    return made


def make_imagenet(root: Path, train: int, test: int, size: tuple[int, int] = (48, 40)) -> Made:
    """Write class folders under train/ and val/ and the meta.bin that torchvision leaves beside them."""
    made = _made(len(WNIDS), train, test, (*size, 3))
    for part, images, targets in (("train", made.train, made.train_targets), ("val", made.test, made.test_targets)):
        for place, target in enumerate(targets):
            save(images[place], root / part / WNIDS[target] / f"{place:04}.JPEG")
    torch.save(
        ({wnid: (f"name of {wnid}",) for wnid in WNIDS}, [WNIDS[k] for k in made.test_targets]), root / "meta.bin"
    )
    return made


def make_folder(
    root: Path,
    parts: Mapping[str, Mapping[str, int]],
    size: tuple[int, int] = (16, 16),
    suffixes: Sequence[str] = (".png",),
) -> dict[str, list[tuple[Path, str]]]:
    """Write `parts[part][name]` images of noise for each class; no two are equal.

    Returns:
        The files of each part with their classes, in the order in which they were written.
    """
    written: dict[str, list[tuple[Path, str]]] = {}
    seed = 0
    for part, classes in parts.items():
        written[part] = []
        for name, count in classes.items():
            for number in range(count):
                path = root / part / name / f"{number:03}{suffixes[number % len(suffixes)]}"
                written[part].append((save(noise(*size, 3, seed=seed), path), name))
                seed += 1
    return written


def save(image: Pixels, path: Path) -> Path:
    """Write an image file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def truncate(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def release(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: workers that are left to the garbage collector end after 5 s only."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class TruncateAfter(Callback):
    """Breaks a file at the end of epoch `epoch` (from 0), as a failing disk would."""

    def __init__(self, path: str, epoch: int) -> None:
        self.path = Path(path)
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            truncate(self.path)


def _made(classes: int, train: int, test: int, shape: tuple[int, ...]) -> Made:
    """Draw images, the classes in turn."""
    targets = [[number % classes for number in range(classes * each)] for each in (train, test)]
    images = [noise(len(part), *shape, seed=seed) for seed, part in enumerate(targets)]
    return Made(images[0], targets[0], images[1], targets[1])


def _pickle(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(pickle.dumps(content))


def _idx(path: Path, array: Pixels) -> None:
    """Write unsigned bytes in the format of http://yann.lecun.com/exdb/mnist: type 8, dimensions, sizes, values."""
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())
