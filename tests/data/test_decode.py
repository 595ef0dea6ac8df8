import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import ExifTags, Image, ImageOps
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from dasc.data import decode
from dasc.data.decode import decode_all, decode_crop, decode_whole, random_box, size_of
from dasc.errors import UserError
from tests.support.files import Pixels, noise, save, truncate

BILINEAR = Image.Resampling.BILINEAR

Boxes = npt.NDArray[np.float64]
"""Rows of top, left, height and width."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(image: Tensor) -> Pixels:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def test_an_image_of_the_asked_size_keeps_its_pixels(tmp_path: Path) -> None:
    image = noise(12, 20, 3)
    path = str(save(image, tmp_path / "image.png"))
    assert np.array_equal(pixels(decode_whole(path, (12, 20))), image)
    assert size_of(path) == (12, 20)


@pytest.mark.parametrize(
    ("file", "size", "middle"),
    [
        ((32, 32), (16, 16), (0, 0, 32, 32)),
        ((8, 8), (16, 16), (0, 0, 8, 8)),
        ((40, 20), (10, 10), (0, 10, 20, 30)),
        ((20, 40), (10, 10), (10, 0, 30, 20)),
        ((60, 60), (20, 30), (0, 10, 60, 50)),
        ((12, 20), (12, 12), (4, 0, 16, 12)),
    ],
)
def test_the_middle_of_an_image_is_what_pil_crops_and_resizes(
    file: tuple[int, int], size: tuple[int, int], middle: tuple[int, int, int, int], tmp_path: Path
) -> None:
    path = save(noise(*file, 3), tmp_path / "image.png")
    with Image.open(path) as image:
        expected = np.array(image.resize(size[::-1], BILINEAR, middle))
    assert np.array_equal(pixels(decode_whole(str(path), size)), expected)


def test_imagenets_margin_is_a_resize_to_256_of_which_the_middle_224_are_taken(tmp_path: Path) -> None:
    path = save(noise(512, 640, 3), tmp_path / "image.png")
    with Image.open(path) as image:
        expected = np.array(image.resize((320, 256), BILINEAR).crop((48, 16, 272, 240)))
    assert np.array_equal(pixels(decode_whole(str(path), (224, 224), 256 / 224)), expected)


@pytest.mark.parametrize("margin", [1.0, 256 / 224])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (37, 53), (500, 333)])
def test_any_shape_comes_out_in_the_asked_size(height: int, width: int, margin: float, tmp_path: Path) -> None:
    path = str(save(noise(height, width, 3), tmp_path / "image.png"))
    assert decode_whole(path, (16, 24), margin).shape == (3, 16, 24)
    assert decode_crop(path, (16, 24), seeded(0)).shape == (3, 16, 24)


def test_a_random_crop_is_what_pil_crops_and_resizes(tmp_path: Path) -> None:
    path = save(noise(40, 60, 3), tmp_path / "image.png")
    seen = set()
    for seed in range(20):
        box = random_box(40, 60, seeded(seed))
        with Image.open(path) as image:
            expected = np.array(image.resize((24, 16), BILINEAR, box))
        crop = pixels(decode_crop(str(path), (16, 24), seeded(seed)))
        assert np.array_equal(crop, expected)
        seen.add(crop.tobytes())
    assert len(seen) == 20


def test_a_crop_in_the_corner_that_needs_no_resize_is_still_cut_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = noise(32, 32, 3)
    path = str(save(image, tmp_path / "image.png"))
    monkeypatch.setattr(decode, "random_box", lambda height, width, generator: (0, 0, 16, 16))
    assert np.array_equal(pixels(decode_crop(path, (16, 16), seeded(0))), image[:16, :16])


@cache
def ours(height: int, width: int, draws: int = 2500) -> Boxes:
    generator = seeded(0)
    boxes = np.array([random_box(height, width, generator) for _ in range(draws)])
    left, top, right, bottom = boxes.T
    return np.stack([top, left, bottom - top, right - left], axis=1)


@cache
def torchvisions(height: int, width: int, draws: int = 2500) -> Boxes:
    torch.manual_seed(1)
    image, share, shape = torch.empty(3, height, width), [0.08, 1.0], [3 / 4, 4 / 3]
    return np.array([RandomResizedCrop.get_params(image, share, shape) for _ in range(draws)], dtype=np.float64)


SHAPES = {"square": (224, 224), "wide": (300, 500), "tall": (90, 50), "small": (32, 32)}


@pytest.mark.parametrize(("height", "width"), SHAPES.values(), ids=list(SHAPES))
def test_a_random_box_lies_inside_and_has_the_shares_and_shapes_that_are_stated(height: int, width: int) -> None:
    top, left, high, wide = ours(height, width).T
    assert np.array_equal(ours(height, width), ours(height, width).round())
    assert top.min() == left.min() == 0
    assert (top + high).max() == height
    assert (left + wide).max() == width
    # sides are rounded to whole pixels: half a pixel to either side
    assert ((high + 0.5) * (wide + 0.5) >= 0.08 * height * width).all()
    assert ((wide + 0.5) / (high - 0.5) >= 3 / 4).all()
    assert ((wide - 0.5) / (high + 0.5) <= 4 / 3).all()


MEASURES: dict[str, Callable[[Boxes], Boxes]] = {
    "area": lambda boxes: boxes[:, 2] * boxes[:, 3],
    "log ratio": lambda boxes: np.log(boxes[:, 3] / boxes[:, 2]),
    "top": lambda boxes: boxes[:, 0],
    "left": lambda boxes: boxes[:, 1],
}


@pytest.mark.parametrize(("height", "width"), SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))
def test_random_boxes_are_drawn_as_torchvision_draws_them(
    measure: Callable[[Boxes], Boxes], height: int, width: int
) -> None:
    one, other = measure(ours(height, width)), measure(torchvisions(height, width))
    # the difference of two means, within four of its standard deviations
    assert abs(one.mean() - other.mean()) < 4 * np.sqrt((one.var() + other.var()) / len(one))
    assert ks_2samp(one, other).pvalue > 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 100), (100, 1), (3, 100), (100, 3), (1, 5000)])
def test_an_image_too_long_for_any_draw_gives_the_largest_box_in_its_middle(height: int, width: int) -> None:
    boxes = ours(height, width, 5)
    assert np.array_equal(boxes, torchvisions(height, width, 5))
    assert len(np.unique(boxes, axis=0)) == 1


FORMATS = {
    "grey": ("L", ".png"),
    "grey and transparent": ("LA", ".png"),
    "black and white": ("1", ".png"),
    "palette": ("P", ".png"),
    "transparent": ("RGBA", ".png"),
    "print": ("CMYK", ".jpg"),
    "grey photograph": ("L", ".jpg"),
    "upper case": ("RGB", ".JPEG"),
    "web": ("RGB", ".webp"),
}


@pytest.mark.parametrize(("mode", "suffix"), FORMATS.values(), ids=list(FORMATS))
def test_every_kind_of_file_becomes_rgb(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(noise(16, 16, 3)).convert(mode).save(path)
    seen = pixels(decode_whole(str(path), (16, 16)))
    with Image.open(path) as image:
        assert np.array_equal(seen, np.array(image.convert("RGB")))
    if mode in ("L", "LA", "1"):
        assert np.array_equal(seen[..., 0], seen[..., 1])
        assert np.array_equal(seen[..., 0], seen[..., 2])
    assert len(np.unique(seen)) > 1


def test_transparency_is_left_away_and_the_colours_stay(tmp_path: Path) -> None:
    image = noise(16, 16, 4)
    path = str(save(image, tmp_path / "image.png"))
    assert np.array_equal(pixels(decode_whole(path, (16, 16))), image[..., :3])


def test_all_files_are_decoded_in_their_order(tmp_path: Path) -> None:
    images = noise(40, 9, 9, 3)
    paths = [str(save(image, tmp_path / f"{place}.png")) for place, image in enumerate(images)]
    decoded = decode_all(paths, (9, 9))
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.permute(0, 2, 3, 1).numpy(), images)


def broken(kind: str, path: Path) -> Path:
    if kind == "truncated":
        truncate(save(noise(64, 64, 3), path))
    elif kind != "missing":
        path.write_bytes({"text": b"no image\nat all", "empty": b""}[kind])
    return path


@pytest.mark.parametrize(
    "read",
    [
        lambda path: decode_whole(path, (8, 8)),
        lambda path: decode_crop(path, (8, 8), seeded(0)),
        lambda path: decode_all([path], (8, 8)),
    ],
    ids=["whole", "crop", "all"],
)
@pytest.mark.parametrize(
    ("kind", "name"),
    [("text", "x.png"), ("empty", "x.png"), ("missing", "x.png"), ("truncated", "x.jpg"), ("truncated", "x.png")],
)
def test_a_file_that_is_no_image_is_one_sentence_with_its_path(
    kind: str, name: str, read: Callable[[str], Tensor], tmp_path: Path
) -> None:
    path = broken(kind, tmp_path / name)
    with pytest.raises(UserError) as raised:
        read(str(path))
    said = str(raised.value)
    assert said.startswith(f"{path} cannot be read as an image (")
    assert said.endswith("): repair or remove it")
    assert said.count(str(path)) == 1
    assert "\n" not in said


@pytest.mark.parametrize(
    ("count", "named"), [(2, "{0}, {1}"), (3, "{0}, {1}, {2}"), (4, "{0}, {1}, {2}, ..."), (9, "{0}, {1}, {2}, ...")]
)
def test_several_broken_files_are_counted_in_one_sentence(count: int, named: str, tmp_path: Path) -> None:
    paths = [str(save(noise(9, 9, 3), tmp_path / f"{place}.png")) for place in range(20)]
    bad = paths[5 : 5 + count]
    for path in bad:
        Path(path).write_text("no image")
    with pytest.raises(UserError) as raised:
        decode_all(paths, (9, 9))
    assert str(raised.value) == (
        f"{count} files cannot be read as images ({named.format(*bad)}): repair or remove them"
    )


def test_sixteen_bits_of_grey_are_scaled_to_eight(tmp_path: Path) -> None:
    grey = (np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    decoded = pixels(decode_whole(str(tmp_path / "deep.png"), (64, 64)))
    assert np.array_equal(decoded[..., 0], np.round(grey / 65535 * 255).astype(np.uint8))


def test_a_palette_with_transparency_is_decoded_by_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    decoded = pixels(decode_whole(str(tmp_path / "palette.png"), (16, 16)))
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [[0, 255, 0]]


def test_an_image_too_large_to_be_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(save(noise(16, 16, 3), tmp_path / "bomb.png"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"bomb\.png cannot be read as an image"):
        decode_whole(path, (16, 16))


LARGE = """\
import sys
from PIL import Image
from dasc.data.decode import decode_whole
from dasc.errors import UserError
Image.MAX_IMAGE_PIXELS = 200
try:
    decode_whole(sys.argv[1], (16, 16))
except UserError as error:
    print(error)
"""


def test_an_image_over_pillows_limit_is_named_where_pillow_only_warns(tmp_path: Path) -> None:
    path = str(save(noise(16, 16, 3), tmp_path / "large.png"))
    done = subprocess.run([sys.executable, "-c", LARGE, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path} cannot be read as an image (Image size (256 pixels) exceeds limit of 200")
    assert done.stdout.endswith("): repair or remove it\n")
    assert done.stderr == ""


def tagged(path: Path, orientation: int) -> Path:
    """Write an image of 12x20 with an EXIF orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(noise(12, 20, 3)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = tagged(tmp_path / f"image{suffix}", orientation)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    assert size_of(str(path)) == (upright.height, upright.width) == ((12, 20) if orientation < 5 else (20, 12))
    middle = pixels(decode_whole(str(path), (upright.height, upright.width)))
    assert np.array_equal(middle, np.array(upright))
    for seed in range(3):
        box = random_box(upright.height, upright.width, seeded(seed))
        expected = np.array(upright.resize((8, 6), BILINEAR, box))
        assert np.array_equal(pixels(decode_crop(str(path), (6, 8), seeded(seed))), expected)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_exif_orientation_is_ignored(orientation: int, tmp_path: Path) -> None:
    path = str(tagged(tmp_path / "image.png", orientation))
    assert size_of(path) == (12, 20)
    assert np.array_equal(pixels(decode_whole(path, (12, 20))), noise(12, 20, 3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0no tiff header", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
def test_damaged_exif_data_is_ignored(exif: bytes, tmp_path: Path) -> None:
    path = str(tmp_path / "image.jpg")
    Image.fromarray(noise(12, 20, 3)).save(path, exif=exif)
    assert size_of(path) == (12, 20)
    assert decode_whole(path, (12, 20)).shape == (3, 12, 20)


def test_sixteen_bits_of_grey_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.full((12, 20), 1000, dtype=np.uint16)).save(tmp_path / "deep.png", exif=exif)
    assert size_of(str(tmp_path / "deep.png")) == (20, 12)
    assert decode_whole(str(tmp_path / "deep.png"), (20, 12)).unique().tolist() == [4]
