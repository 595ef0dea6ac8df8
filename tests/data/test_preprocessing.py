"""Images are evaluated with the mean, the standard deviation and the interpolation of pretrained weights."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import models
from torchvision.transforms.v2 import functional as F

from dasc.data import ImageData
from dasc.networks import Pretrained
from tests.support.files import make_folder, noise, save

PARTS = {part: {"cat": 1, "dog": 1} for part in ("train", "val", "test")}
"""Two images in each part."""

NETWORKS = {"bilinear": "mobilenet_v2", "bicubic": "efficientnet_b0", "another mean": "efficientnet_v2_l"}
SIZE = 24


def evaluated(root: Path, recorded: dict[str, object], on_device: bool) -> Tensor:
    data = ImageData(
        "folder", str(root), batch_size=1, image_size=SIZE, crop="none", on_device=on_device, num_workers=0
    )
    data.use(recorded)
    data.setup("test")
    (batch,) = data.test_dataloader()
    return data.pipeline.evaluate(batch).images


def recorded_by(network: str) -> dict[str, object]:
    found = Pretrained(network, "DEFAULT").preprocessing()
    assert found is not None
    return found.plain()


@pytest.mark.parametrize("on_device", [True, False], ids=["in memory", "streamed"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_an_image_is_evaluated_as_torchvision_does(network: str, on_device: bool, tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": {"cat": 1, "dog": 1}, "val": {"cat": 1, "dog": 1}})
    path = save(noise(40, 40, 3, seed=5), tmp_path / "test" / "cat" / "0.png")
    transforms = models.get_model_weights(network).DEFAULT.transforms(crop_size=SIZE, resize_size=SIZE)
    image = Image.open(path)
    assert torch.allclose(evaluated(tmp_path, recorded_by(network), on_device)[0], transforms(image), atol=1e-5)


def test_arrays_are_resized_with_the_interpolation_too(tmp_path: Path) -> None:
    data = ImageData(image_size=12)
    raw = data.source.read()["val"].images  # type: ignore[union-attr]
    data.use(recorded_by("efficientnet_b0"))
    data.load()
    found = data.source.read()["val"].images  # type: ignore[union-attr]
    expected = F.resize(raw, [12, 12], F.InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(found, expected)
    assert not torch.equal(found, F.resize(raw, [12, 12], antialias=True))


def test_images_that_are_in_memory_are_resized_again_for_another_interpolation(tmp_path: Path) -> None:
    make_folder(
        tmp_path,
        PARTS,
        size=(40, 40),
    )
    bicubic = recorded_by("efficientnet_b0")
    data = ImageData("folder", str(tmp_path), batch_size=1, image_size=SIZE, crop="none")
    data.use(bicubic | {"interpolation": "bilinear"})
    data.setup("test")
    (before,) = data.test_dataloader()
    data.use(bicubic)
    (after,) = data.test_dataloader()
    assert not torch.equal(before.images, after.images)
    assert torch.equal(data.pipeline.evaluate(after).images, evaluated(tmp_path, bicubic, True))


def test_a_checkpoint_without_an_interpolation_has_bilinear_images() -> None:
    data = ImageData()
    found = []
    for recorded in (recorded_by("efficientnet_b0"), {"mean": [0.3] * 3, "std": [0.4] * 3}):
        data.use(recorded)
        found.append(data.source.interpolation)
    assert found == ["bicubic", "bilinear"]
    assert (data.mean, data.std) == ((0.3,) * 3, (0.4,) * 3)


@pytest.mark.parametrize("height", [29, 58, 123, 499, 907])
def test_an_image_whose_height_is_no_float_multiple_is_decoded(height: int, tmp_path: Path) -> None:
    assert 224 * (height / 224) > height
    make_folder(
        tmp_path,
        PARTS,
        size=(height, height + 10),
    )
    data = ImageData("folder", str(tmp_path), batch_size=1, image_size=224, crop="none")
    data.load("test")
    assert data.source.read()["test"].images.shape == (2, 3, 224, 224)  # type: ignore[union-attr]
