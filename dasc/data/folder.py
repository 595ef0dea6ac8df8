"""Images in class folders under train/ and, optionally, under val/ and test/."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension, make_dataset

from dasc.data.checks import check_classes
from dasc.data.image_size import choose_size
from dasc.data.sets import FileSet, Parts, SetInfo
from dasc.errors import UserError

VALIDATION_NAMES = ("val", "valid", "validation")
"""Accepted names of the folder of the validation images."""

NAMED = 10
"""Class names at most that an error shows."""

UNSUPPORTED = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jfif", ".jpe", ".gif", ".apng"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
    *(".svg", ".eps", ".psd", ".xcf", ".tga", ".ico", ".exr", ".hdr"),
)
"""Extensions of image files that cannot be read."""

Samples = list[tuple[str, int]]
"""Paths with the numbers of their classes."""


def folder_info(root: Path, class_names: Sequence[str] | None = None, image_size: int | None = None) -> SetInfo:
    """Return the properties of a folder before its images are decoded; its files are listed once, here.

    Images are mirrored left to right.

    Args:
        root: The folder.
        class_names: Names of the classes in the order of their numbers. Then train/ may be missing or lack some. None:
            the class folders under train/, sorted; each has images.
        image_size: Height and width that images are resized to; None: see `dasc.data.image_size.choose_size`.

    Raises:
        UserError: The folder is missing or empty, has two validation folders or a class folder that is not one of the
            classes, or no image can be read to get its size.
    """
    if class_names is None:
        names = _names_of(root)
        found = _find(root, names)
        if found[0] is not None:
            _check_all_classes(root / "train", names, found[0][1])
    else:
        names = tuple(class_names)
        _check_known(root, names)
        found = _find(root, names)
    samples = next((part[1] for part in found if part is not None and part[1]), None)
    if samples is None:
        raise UserError(f"{root} has no images in class folders: known are {', '.join(IMG_EXTENSIONS)}")
    if image_size is None:
        size, origin = choose_size([path for path, _ in samples])
    else:
        size, origin = (image_size, image_size), ""
    return SetInfo(
        *(names, size, True, lambda root, download: _parts(found, strict=class_names is None)),
        files=True,
        all_classes=True,
        size_origin=origin,
    )


def _names_of(root: Path) -> tuple[str, ...]:
    """Return the names of the class folders under train/, which the other parts must not exceed."""
    train = root / "train"
    if not train.is_dir():
        raise UserError(f"there is no folder {train}: data.root needs class folders under train/, val/ and test/")
    names = _class_names(train)
    if not names:
        raise UserError(f"{train} has no class folders: put the images of each class into a folder of its name")
    check_classes(str(train), names)
    for folder in (_validation_folder(root), _existing(root / "test")):
        for name in () if folder is None else _class_names(folder):
            if name not in names:
                raise UserError(f"{folder} has a class '{name}' that {train} lacks: remove it or add its images")
    return tuple(names)


def _check_known(root: Path, names: tuple[str, ...]) -> None:
    """Check that there is a part, and that its class folders are among those of a checkpoint."""
    folders = [folder for folder in _folders(root) if folder is not None]
    if not folders:
        raise UserError(
            f"there is no folder {root / 'test'}: data.root needs class folders under train/, val/ or test/"
        )
    for folder in folders:
        for name in _class_names(folder):
            if name not in names:
                known = ", ".join(names[:NAMED]) + ", ..." * (len(names) > NAMED)
                raise UserError(
                    f"{folder} has a class '{name}' that is not one of the {len(names)} classes of the checkpoint, or "
                    f"of data.class_names ({known}): rename or remove it"
                )


def _check_all_classes(train: Path, names: Sequence[str], samples: Samples) -> None:
    present = {number for _, number in samples}
    for number, name in enumerate(names):
        if number not in present:
            raise UserError(f"{train / name} has no images: known are {', '.join(IMG_EXTENSIONS)}")


def _parts(found: Sequence[tuple[Path, Samples] | None], strict: bool) -> Parts:
    """Return the parts; unless `strict`, train/ may be empty."""
    first, *rest = found
    if not strict and first is not None and not first[1]:
        first = None
    train, val, test = (None if each is None else _file_set(*each) for each in (first, *rest))
    return Parts(train, val, test)


def _folders(root: Path) -> tuple[Path | None, Path | None, Path | None]:
    """Return the folders of train, val and test; None for one that does not exist."""
    return _existing(root / "train"), _validation_folder(root), _existing(root / "test")


def _find(root: Path, names: Sequence[str]) -> list[tuple[Path, Samples] | None]:
    """Return the folder and the samples of train, val and test, or None for a part that has no folder.

    Raises:
        UserError: There are images of an unsupported type.
    """
    unsupported: list[str] = []
    found = [None if folder is None else (folder, _list(folder, names, unsupported)) for folder in _folders(root)]
    if unsupported:
        one = len(unsupported) == 1
        raise UserError(
            f"{root} has {len(unsupported)} image {'file' if one else 'files'} of an unsupported type "
            f"({'' if one else 'first: '}{unsupported[0]}): "
            f"convert {'it' if one else 'them'} to JPEG or PNG, or remove {'it' if one else 'them'}"
        )
    return found


def _validation_folder(root: Path) -> Path | None:
    """Return the folder of the validation images under any of its accepted names."""
    found = [name for name in VALIDATION_NAMES if (root / name).is_dir()]
    if len(found) > 1:
        given = " and ".join(f"{name}/" for name in found)
        raise UserError(
            f"{root} must have at most one validation folder, got {given}: merge them or remove all but one"
        )
    return root / found[0] if found else None


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _list(folder: Path, names: Sequence[str], unsupported: list[str]) -> Samples:
    """Return the images in class folders; append those of an unsupported type to `unsupported`."""
    numbers = {name: number for number, name in enumerate(names) if (folder / name).is_dir()}

    def is_readable(path: str) -> bool:
        if has_file_allowed_extension(path, UNSUPPORTED) and not os.path.basename(path).startswith("."):
            unsupported.append(path)
        return bool(has_file_allowed_extension(path, IMG_EXTENSIONS))

    return make_dataset(str(folder), numbers, is_valid_file=is_readable, allow_empty=True) if numbers else []


def _file_set(folder: Path, samples: Samples) -> FileSet:
    if not samples:
        raise UserError(f"{folder} has no images in class folders: add some, or remove it to split it from train/")
    return FileSet([path for path, _ in samples], torch.tensor([number for _, number in samples]), str(folder))


def _class_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
