import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, models

from dasc.data import DATASETS, FileSet, ImageData, ImageSet
from dasc.errors import UserError
from tests.support.files import (
    WNIDS,
    Made,
    Pixels,
    accept_made_files,
    make_cifar,
    make_fashion_mnist,
    make_imagenet,
)

DOWNLOADED = ("cifar10", "cifar100", "fashion_mnist")


def make(name: str, root: Path) -> Made:
    if name == "fashion_mnist":
        return make_fashion_mnist(root, train=20, test=2)
    return make_cifar(root, int(name.removeprefix("cifar")), train=20 if name == "cifar10" else 10, test=2)


def colour(images: Pixels) -> Pixels:
    return images if images.ndim == 4 else np.stack([images] * 3, axis=-1)


def counter(images: Pixels, targets: list[int]) -> Counter[tuple[bytes, int]]:
    return Counter((image.tobytes(), target) for image, target in zip(images, targets, strict=True))


def as_made(images: ImageSet) -> tuple[Pixels, list[int]]:
    return np.ascontiguousarray(images.images.permute(0, 2, 3, 1).numpy()), images.targets.tolist()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was downloaded")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    accept_made_files(monkeypatch)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_reader_returns_the_pixels_and_classes_in_the_files_and_grey_three_times(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    parts = DATASETS[name].read(tmp_path, False)
    assert parts.val is None
    for part, images, targets in ((parts.train, *made[:2]), (parts.test, *made[2:])):
        assert isinstance(part, ImageSet)
        assert part.images.dtype == torch.uint8
        assert part.images.is_contiguous()
        assert part.images.shape[1:] == (3, *DATASETS[name].image_size)
        pixels, classes = as_made(part)
        assert np.array_equal(pixels, colour(images))
        assert classes == targets


@pytest.mark.parametrize("name", DOWNLOADED)
def test_validation_is_a_tenth_of_the_training_images_and_test_is_the_sets_own(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    count, classes = len(made.train), DATASETS[name].class_names
    data = ImageData(name, root=str(tmp_path), batch_size=32)
    data.setup("fit")
    assert data.counts() == {"train": count - count // 10, "val": count // 10, "test": len(made.test)}
    val, test = (
        ImageSet(torch.cat([batch.images for batch in loader]), torch.cat([batch.targets for batch in loader]))
        for loader in (data.val_dataloader(), data.test_dataloader())
    )
    assert torch.bincount(val.targets).tolist() == [count // 10 // len(classes)] * len(classes)
    assert counter(*as_made(val)) <= counter(colour(made.train), made.train_targets)
    assert counter(*as_made(test)) == counter(colour(made.test), made.test_targets)


def test_imagenets_files_are_the_class_folders_and_its_validation_images_are_test(tmp_path: Path) -> None:
    made = make_imagenet(tmp_path, train=20, test=2)
    parts = DATASETS["imagenet"].read(tmp_path, False)
    for part, folder, targets in ((parts.train, "train", made.train_targets), (parts.test, "val", made.test_targets)):
        assert isinstance(part, FileSet)
        expected = {
            str(tmp_path / folder / WNIDS[target] / f"{place:04}.JPEG"): target for place, target in enumerate(targets)
        }
        assert dict(zip(part.paths, part.targets.tolist(), strict=True)) == expected
    data = ImageData("imagenet", root=str(tmp_path), batch_size=32)
    assert data.counts() == {"train": 57, "val": 3, "test": 6}  # by the hashes of the names; see test_hash_split.py
    assert data.image_size == (224, 224)
    assert data.num_classes == 1000


def test_images_of_imagenet_are_brought_to_one_size(tmp_path: Path) -> None:
    make_imagenet(tmp_path, train=20, test=2)
    data = ImageData("imagenet", root=str(tmp_path), batch_size=32, image_size=40)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    path = tmp_path / "val" / WNIDS[0] / "0000.JPEG"
    with Image.open(path) as image:  # 48 high, 40 wide: the middle is 40 x 40
        assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), np.array(image)[4:44])


def test_the_names_of_the_classes_are_torchvisions() -> None:
    assert list(DATASETS["fashion_mnist"].class_names) == datasets.FashionMNIST.classes
    names = DATASETS["imagenet"].class_names
    assert len(names) == 1000
    assert names == tuple(models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    # the names of CIFAR's classes ship with its files only: names, and numbers of well-known images
    assert [DATASETS["cifar10"].class_names[number] for number in (0, 3, 5, 9)] == ["airplane", "cat", "dog", "truck"]
    names = DATASETS["cifar100"].class_names
    assert [names[number] for number in (0, 19, 29, 49, 99)] == ["apple", "cattle", "dinosaur", "mountain", "worm"]


@pytest.mark.parametrize(("name", "count"), [("digits", 10), ("cifar10", 10), ("cifar100", 100), ("fashion_mnist", 10)])
def test_no_two_classes_have_one_name(name: str, count: int) -> None:
    assert len(set(DATASETS[name].class_names)) == len(DATASETS[name].class_names) == count


def test_the_classes_of_cifar_are_numbered_by_the_alphabet() -> None:
    for name in ("cifar10", "cifar100"):
        assert list(DATASETS[name].class_names) == sorted(DATASETS[name].class_names)


@pytest.mark.parametrize(
    ("name", "kind", "remedy"),
    [
        ("cifar10", "CIFAR10", "set data.root to where it lies, or data.download to true"),
        ("cifar100", "CIFAR100", "set data.root to where it lies, or data.download to true"),
        ("fashion_mnist", "FashionMNIST", "set data.root to where it lies, or data.download to true"),
        ("imagenet", "ImageNet", "set data.root to where it lies"),
    ],
)
@pytest.mark.parametrize("root", ["nowhere", "a file"])
def test_a_set_that_is_not_there_is_one_sentence(name: str, kind: str, remedy: str, root: str) -> None:
    Path("a file").write_text("x")
    with pytest.raises(UserError) as raised:
        ImageData(name, root=root).counts()
    assert re.fullmatch(rf"{kind} cannot be read from {root} \(.+\): {remedy}", str(raised.value))


@pytest.mark.parametrize("name", DOWNLOADED)
@pytest.mark.parametrize(
    ("download", "local_rank", "downloads"), [(True, 0, True), (False, 0, False), (True, 1, False)]
)
def test_one_process_of_a_machine_downloads_and_only_where_it_is_told_to(
    name: str, download: bool, local_rank: int, downloads: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    for kind in (datasets.CIFAR10, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "download", lambda self: asked.append(self.train))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    make(name, tmp_path)
    ImageData(name, root=str(tmp_path), download=download).counts()
    assert asked == ([True, False] if downloads else [])
