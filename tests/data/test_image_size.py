"""The default image size of a folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dasc.cli import main
from dasc.data import ImageData
from dasc.data import image_size as image_size_module
from dasc.data.image_size import choose_size
from dasc.errors import UserError
from tests.support.files import make_folder, noise, save


def write(folder: Path, sizes: list[tuple[int, int]]) -> list[str]:
    """Write one-colour images of these heights and widths; return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / f"{number:03}.png") for number in range(len(sizes))]
    for path, (height, width) in zip(paths, sizes, strict=True):
        Image.new("L", (width, height)).save(path)
    return paths


@pytest.mark.parametrize("size", [(224, 224), (20, 12), (150, 224)])
def test_images_of_one_size_up_to_224_keep_it(size: tuple[int, int], tmp_path: Path) -> None:
    assert choose_size(write(tmp_path, [size] * 3)) == (size, "the size of 3 sampled images")


CASES = {
    "one size above 224": ([(300, 400)] * 3, 224, "median short side of 3 sampled images: 300, limited to 224"),
    "one long side": ([(100, 225)] * 3, 100, "median short side of 3 sampled images: 100"),
    "two sizes": ([(50, 30), (20, 90), (40, 60)], 30, "median short side of 3 sampled images: 30"),
    "an even number": ([(50, 30), (20, 90)], 20, "median short side of 2 sampled images: 20"),
    "one image": ([(500, 600)], 224, "median short side of 1 image: 500, limited to 224"),
}


@pytest.mark.parametrize(("sizes", "side", "origin"), CASES.values(), ids=list(CASES))
def test_other_images_become_square(sizes: list[tuple[int, int]], side: int, origin: str, tmp_path: Path) -> None:
    assert choose_size(write(tmp_path, sizes)) == ((side, side), origin)


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (20, 12)).save(tmp_path / "a.jpg", exif=exif)
    assert choose_size([str(tmp_path / "a.jpg")])[0] == (20, 12)


def test_256_headers_evenly_through_the_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def size_of(path: str) -> tuple[int, int]:
        read.append(int(path))
        return 8, 8

    monkeypatch.setattr(image_size_module, "size_of", size_of)
    assert choose_size([str(number) for number in range(2560)])[1] == "the size of 256 sampled images"
    assert read == list(range(0, 2560, 10))


def test_a_header_that_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"cat": 5, "dog": 1}}, size=(20, 12))
    files["train"][0][0].write_text("no image")
    assert ImageData("folder", str(tmp_path)).image_size == (20, 12)


def test_where_no_header_can_be_read_one_file_is_named(tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"cat": 2, "dog": 1}})
    for path, _ in files["train"]:
        path.write_text("no image")
    with pytest.raises(UserError) as raised:
        ImageData("folder", str(tmp_path))
    said = str(raised.value)
    assert said.startswith(f"{files['train'][0][0]} cannot be read as an image (")
    assert said.endswith("and 2 other sampled files")
    assert ImageData("folder", str(tmp_path), image_size=8).image_size == (8, 8)


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path, {"train": {"cat": 20, "dog": 20}})
    walked: list[str] = []
    walk = os.walk

    def recorded(top: str, **settings: Any) -> Iterator[Any]:
        walked.append(str(top))
        return walk(top, **settings)

    monkeypatch.setattr(os, "walk", recorded)
    ImageData("folder", str(tmp_path)).counts()
    assert sorted(walked) == [str(tmp_path / "train" / name) for name in ("cat", "dog")]


def test_a_plan_prints_where_the_image_size_comes_from(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        save(noise(30 + number % 2, 40, 3), tmp_path / "set" / "train" / "ab"[number % 2] / f"{number}.png")
    words = ["--config", str(tiny), "--data.dataset=folder", f"--data.root={tmp_path / 'set'}", "--data.batch_size=4"]
    main(["plan", *words, "--data.image_size=null"])
    assert "image size 30x30 (median short side of 12 sampled images: 30)" in " ".join(capsys.readouterr().out.split())
    main(["plan", *words, "--data.image_size=16"])
    assert "image size" not in capsys.readouterr().out
