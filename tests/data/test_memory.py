from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from dasc.cli import main
from dasc.data import DATASETS, ImageData, ImageSet, ResidentLoader, StreamedLoader
from dasc.data.memory import DEVICE_LIMIT, bytes_of, in_memory
from dasc.errors import UserError
from tests.support.files import Pixels, make_folder, noise

PARTS = {part: {"cat": 8, "dog": 8} for part in ("train", "val", "test")}


def as_tensor(images: Pixels) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def resized(images: Pixels, size: tuple[int, int]) -> Pixels:
    found = in_memory(ImageSet(as_tensor(images), torch.arange(len(images))), size)
    assert found.images.dtype == torch.uint8
    assert found.targets.tolist() == list(range(len(images)))
    return found.images.permute(0, 2, 3, 1).numpy()


def ready(device: str, **settings: Any) -> ImageData:
    """Data of a run on a device; `meta` stands for one that is not the host's."""
    data = ImageData(**{"batch_size": 4, "num_workers": 0} | settings)
    strategy = SimpleNamespace(root_device=torch.device(device))
    state = SimpleNamespace(training=True, current_epoch=0, global_rank=0, world_size=1, strategy=strategy)
    data.trainer = cast(Trainer, state)
    data.setup("fit")
    return data


@pytest.mark.parametrize("size", [(16, 16), (48, 48), (24, 24)])
def test_arrays_are_resized_as_torchvision_and_pil_resize_them(size: tuple[int, int]) -> None:
    images = noise(20, 32, 32, 3)
    found = resized(images, size)
    expected = F.resize(as_tensor(images), list(size), antialias=True)
    assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())
    pil = [np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)) for image in images]
    assert np.abs(found.astype(int) - np.stack(pil)).max() <= 1


def test_arrays_of_the_asked_size_are_left_alone() -> None:
    images = ImageSet(as_tensor(noise(5, 32, 32, 3)), torch.arange(5))
    assert in_memory(images, (32, 32)) is images


@pytest.mark.parametrize(
    ("shape", "middle"), [((16, 32), np.s_[:, :, 8:24]), ((40, 20), np.s_[:, 10:30]), ((8, 8), np.s_[:])]
)
def test_the_middle_of_arrays_of_another_shape_is_kept(shape: tuple[int, int], middle: Any) -> None:
    images = noise(6, *shape, 3)
    side = min(shape)
    assert np.array_equal(resized(images, (side, side)), images[middle])


def test_a_large_set_is_resized_as_each_of_its_images_is() -> None:
    images = noise(2500, 4, 4, 3)
    some = [0, 1023, 1024, 2047, 2048, 2499]
    one_by_one = [resized(images[place : place + 1], (8, 8)) for place in some]
    found = resized(images, (8, 8))
    assert len(found) == 2500
    assert np.array_equal(found[some], np.concatenate(one_by_one))


@pytest.mark.parametrize(("count", "size"), [(0, (8, 8)), (1, (1, 1)), (7, (20, 30)), (60_000, (28, 28))])
def test_the_bytes_of_images_are_those_of_the_tensor(count: int, size: tuple[int, int]) -> None:
    assert bytes_of(count, size) == torch.empty(count, 3, *size, dtype=torch.uint8, device="meta").nbytes


def test_the_limit_is_a_gibibyte() -> None:
    assert DEVICE_LIMIT == 1024 * 1024 * 1024
    assert bytes_of(60_000, (32, 32)) < DEVICE_LIMIT < bytes_of(60_000, (96, 96))


def loaders(data: ImageData) -> set[type]:
    return {type(loader) for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())}


@pytest.mark.parametrize(
    ("on_device", "spare", "expected"),
    [
        ("auto", 1, ResidentLoader),
        ("auto", 0, StreamedLoader),
        ("auto", -1, StreamedLoader),
        (True, 0, ResidentLoader),
        (False, 1, StreamedLoader),
    ],
)
def test_files_are_resident_where_all_parts_take_less_than_the_limit(
    on_device: bool | Literal["auto"], spare: int, expected: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_folder(tmp_path, PARTS, size=(10, 12))
    monkeypatch.setattr("dasc.data.storage.DEVICE_LIMIT", 48 * 3 * 10 * 12 + spare)
    assert loaders(ready("cpu", dataset="folder", root=str(tmp_path), on_device=on_device)) == {expected}


def test_the_size_that_images_are_brought_to_decides_and_not_that_of_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_folder(tmp_path, PARTS, size=(64, 64))
    monkeypatch.setattr("dasc.data.storage.DEVICE_LIMIT", 48 * 3 * 8 * 8 + 1)
    data = ready("cpu", dataset="folder", root=str(tmp_path), image_size=8)
    assert loaders(data) == {ResidentLoader}


@pytest.mark.parametrize(
    ("on_device", "limit", "expected"),
    [("auto", DEVICE_LIMIT, "meta"), ("auto", 1, "cpu"), (True, 1, "meta"), (False, DEVICE_LIMIT, "cpu")],
)
def test_arrays_lie_on_the_device_or_stay_in_the_hosts_memory_and_are_never_streamed(
    on_device: bool | Literal["auto"], limit: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dasc.data.storage.DEVICE_LIMIT", limit)
    data = ready("meta", on_device=on_device)
    assert loaders(data) == {ResidentLoader}
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert {batch.images.device.type, batch.targets.device.type} == {expected}


@pytest.mark.parametrize("dataset", ["digits", "folder"])
def test_a_random_part_is_not_taken_of_resident_images(dataset: str, tmp_path: Path) -> None:
    make_folder(tmp_path, PARTS)
    settings: dict[str, Any] = {"dataset": dataset, "root": str(tmp_path), "crop": "resize"}
    with pytest.raises(UserError) as raised:
        ready("cpu", **settings)
    assert str(raised.value) == (
        "crop: resize needs images streamed from files: set on_device to false, or crop to pad"
    )
    if dataset == "folder":
        assert loaders(ready("cpu", **settings, on_device=False)) == {StreamedLoader}


@pytest.mark.parametrize("on_device", [True, False])
def test_digits_are_brought_to_the_size_that_is_asked_for(on_device: bool) -> None:
    small, large = (ready("cpu", crop="none", image_size=size, on_device=on_device) for size in (None, 16))
    assert (small.image_size, large.image_size) == ((8, 8), (16, 16))
    for before, after in zip(small.test_dataloader(), large.test_dataloader(), strict=True):
        assert torch.equal(after.images, F.resize(before.images, [16, 16], antialias=True))
        assert torch.equal(after.targets, before.targets)


def test_enlarged_digits_run_through_the_command(tiny: Path, tmp_path: Path) -> None:
    quick = ("--epochs_scale=0.001", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    main(["fit", "--config", str(tiny), "--data.image_size=12", *quick])
    meta = torch.load(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert meta["dasc"]["image_size"] == [12, 12]
    assert meta["dasc"]["mean"] == pytest.approx(DATASETS["digits"].mean)
