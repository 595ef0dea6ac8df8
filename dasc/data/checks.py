"""Checks of the arguments of `ImageData`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from dasc.data.pipeline import MIXERS
from dasc.data.sets import DATASETS
from dasc.errors import UserError, unknown_name


def check_dataset(dataset: str, class_names: Sequence[str] | None) -> None:
    """Check the name of the data set, and that class names are given for a folder only and differ.

    Raises:
        UserError: One of them is wrong.
    """
    if dataset not in DATASETS and dataset != "folder":
        write = "--data.dataset folder --data.root"
        if Path(str(dataset)).expanduser().is_dir():
            raise UserError(f"data.dataset must be a name, got the folder {dataset}: write {write} {dataset}")
        said = unknown_name("data set", str(dataset), [*DATASETS, "folder"])
        own = "" if said.endswith("?") else f"; for your own images in class folders, write {write} FOLDER"
        raise UserError(f"{said}{own}")
    if class_names is None:
        return
    if dataset != "folder":
        raise UserError(f"data.class_names is for data.dataset folder, got it with {dataset}: leave it out")
    if not class_names or len(set(class_names)) < len(class_names):
        raise UserError(f"data.class_names must be different names, got {list(class_names)}")
    check_classes("data.class_names", class_names)


def check_classes(name: str, class_names: Sequence[str]) -> None:
    """Check that there are at least two classes.

    Raises:
        UserError: There is one.
    """
    if len(class_names) < 2:
        raise UserError(
            f"{name} must have at least 2 classes, got {len(class_names)} ({', '.join(class_names)}): "
            "put the images of each class into a folder of its own"
        )


def check_sizes(sizes: Mapping[str, int | None]) -> None:
    """Check that sizes, by their names, are at least 1 or None.

    Raises:
        UserError: One is not.
    """
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise UserError(f"{name} is {size}: write a whole number, at least 1")


def check_batch(batch_size: int, images: int, world_size: int) -> None:
    """Check that a training batch can be shared equally by the processes, and filled.

    Raises:
        UserError: It cannot.
    """
    if batch_size % world_size:
        raise UserError(f"batch_size {batch_size} cannot be shared by {world_size} processes: write a multiple of that")
    if batch_size > images:
        raise UserError(f"batch_size {batch_size} is over the {images} training images: write a smaller one")


def check_mix(mix: str, alpha: float) -> None:
    """Check how images are mixed.

    Raises:
        UserError: `mix` is unknown, or its Beta parameter is not a finite number over 0.
    """
    if mix not in ("none", *MIXERS):
        raise UserError(unknown_name("mix", mix, ("none", *MIXERS)))
    if not 0 < alpha < math.inf:
        raise UserError(f"mix_alpha is {alpha}: write a number over 0")


def check_workers(count: int | None) -> None:
    """Check the number of worker processes.

    Raises:
        UserError: It is negative.
    """
    if count is not None and count < 0:
        raise UserError(f"num_workers is {count}: write a whole number, at least 0")


def check_extent(name: str, pixels: int | None, size: tuple[int, int]) -> None:
    """Check that a length in pixels is not larger than an image of `size` (height, width).

    Raises:
        UserError: It is.
    """
    limit = min(size)
    if pixels is not None and pixels > limit:
        side = "the image size" if size[0] == size[1] else "the shorter image side"
        raise UserError(f"data.{name} must be <= {limit} ({side}), got {pixels}")


def size_text(size: Sequence[int]) -> str:
    """Return an image size as errors show it: `32`, or `20x32`."""
    return str(size[0]) if len(set(size)) == 1 else "x".join(map(str, size))


def whole_count(train_size: int | float | None) -> int | float | None:
    """Return a count as an int: a union of int and float may be parsed as either, by the order that typing cached."""
    if isinstance(train_size, float) and train_size > 1 and train_size.is_integer():
        return int(train_size)
    return train_size
