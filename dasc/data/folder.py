"""A data set of one's own: class folders under train/, and under val/ and test/ where there are any."""

from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from dasc.data.decode import size_of
from dasc.data.sets import FileSet, Parts, SetInfo
from dasc.errors import UserError


def folder_info(root: Path) -> SetInfo:
    """Return what is known of a folder before its images are read.

    Images are mirrored left to right; they have the size of the first one, or what `image_size` says.

    Raises:
        UserError: The folder is missing or empty, or val/ or test/ has a class that train/ lacks.
    """
    train = root / "train"
    if not train.is_dir():
        raise UserError(f"there is no folder {train}: data.root needs class folders under train/, val/ and test/")
    names = _class_names(train)
    if not names:
        raise UserError(f"{train} has no class folders: put the images of each class into a folder of its name")
    for part in ("val", "test"):
        for name in _class_names(root / part) if (root / part).is_dir() else ():
            if name not in names:
                raise UserError(f"{root / part} has a class '{name}' that {train} lacks: remove it or add its images")
    first = next((path for path in sorted((train / names[0]).rglob("*")) if _is_image(path)), None)
    if first is None:
        raise UserError(f"{train / names[0]} has no images: known are {', '.join(IMG_EXTENSIONS)}")
    return SetInfo(tuple(names), size_of(str(first)), True, lambda root, download: _read(root, names))


def _read(root: Path, names: list[str]) -> Parts:
    train = _list(root / "train", names)
    counts = torch.bincount(train.targets, minlength=len(names))
    if not bool(counts.all()):
        empty = names[int((counts == 0).nonzero()[0])]
        raise UserError(f"{root / 'train' / empty} has no images: known are {', '.join(IMG_EXTENSIONS)}")
    val, test = (_list(root / part, names) if (root / part).is_dir() else None for part in ("val", "test"))
    return Parts(train, val, test)


def _list(folder: Path, names: list[str]) -> FileSet:
    numbers = {name: number for number, name in enumerate(names) if (folder / name).is_dir()}
    samples = make_dataset(str(folder), numbers, extensions=IMG_EXTENSIONS, allow_empty=True) if numbers else []
    if not samples:
        raise UserError(f"{folder} has no images in class folders: add some, or remove it to carve it from train")
    return FileSet([path for path, _ in samples], torch.tensor([number for _, number in samples]))


def _class_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMG_EXTENSIONS
