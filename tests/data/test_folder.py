import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dasc import checkpoint
from dasc.cli import main
from dasc.data import DATASETS, ImageData, ImageSet
from dasc.data import memory as memory_module
from dasc.data.decode import decode_all
from dasc.data.memory import mean_and_std
from dasc.errors import UserError
from tests.support.files import Pixels, make_folder, noise, save, truncate

TWO = {"cat": 20, "dog": 30}


def opened(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def counter(files: list[tuple[Path, str]]) -> Counter[tuple[bytes, str]]:
    return Counter((opened(path).tobytes(), name) for path, name in files)


def seen(data: ImageData, part: str) -> Counter[tuple[bytes, str]]:
    """The images that a loader gives, with the names of their classes."""
    found: Counter[tuple[bytes, str]] = Counter()
    for batch in getattr(data, f"{part}_dataloader")():
        for image, target in zip(batch.images, batch.targets.tolist(), strict=True):
            found[image.permute(1, 2, 0).contiguous().numpy().tobytes(), data.class_names[target]] += 1
    return found


def ready(root: Path, **settings: Any) -> ImageData:
    data = ImageData("folder", str(root), batch_size=1, crop="none", **settings)
    data.setup("fit")
    return data


def test_classes_are_known_by_name_before_any_image_is_decoded(tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"zebra": 3, "Ant": 3, "cow": 3, ".cache": 1}}, size=(20, 12))
    for path, _ in files["train"]:
        truncate(path)
    data = ImageData("folder", root=str(tmp_path))
    assert data.class_names == ("Ant", "cow", "zebra")
    assert data.num_classes == 3
    assert data.image_size == (20, 12)
    assert data.flip


def test_each_part_is_read_from_its_folder(tmp_path: Path) -> None:
    files = make_folder(tmp_path, {part: {"cat": 4, "dog": 5, "eel": 6} for part in ("train", "val", "test")})
    data = ready(tmp_path)
    assert data.counts() == {"train": 15, "val": 15, "test": 15}
    for part in ("train", "val", "test"):
        assert seen(data, part) == counter(files[part])


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_valid_and_validation_are_read_as_val(name: str, tmp_path: Path) -> None:
    files = make_folder(tmp_path, {part: {"cat": 4, "dog": 5} for part in ("train", name, "test")})
    data = ready(tmp_path)
    assert data.counts() == {"train": 9, "val": 9, "test": 9}
    assert seen(data, "val") == counter(files[name])


def is_below_a_tenth(part: str, name: str) -> bool:
    """The rule of the split, written again: 53 bits of BLAKE2b over part, seed 0 and relative name."""
    word = hashlib.blake2b(f"{part}\n0\n{name}".encode(), digest_size=8).digest()
    return int.from_bytes(word, "big") >> 11 < 0.1 * 2**53


@pytest.mark.parametrize("given", [[], ["val"], ["test"]], ids=["train only", "with val", "with test"])
def test_missing_parts_follow_from_the_hashes_of_the_names(given: list[str], tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"cat": 100, "dog": 200}} | {part: {"cat": 7, "dog": 7} for part in given})
    data = ready(tmp_path)
    rest = files["train"]
    for part in ("test", "val"):
        if part in given:
            assert seen(data, part) == counter(files[part])
            continue
        inside = [file for file in rest if is_below_a_tenth(part, file[0].relative_to(tmp_path / "train").as_posix())]
        assert {name for _, name in inside} == {"cat", "dog"}
        assert seen(data, part) == counter(inside)
        rest = [file for file in rest if file not in inside]
    assert seen(data, "train") == counter(rest)


def test_a_test_part_that_is_split_off_does_not_depend_on_the_seed_of_the_split(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": {"cat": 40, "dog": 60}})
    one, other = (ready(tmp_path, split_seed=seed) for seed in (0, 1))
    assert seen(one, "test") == seen(other, "test")
    assert seen(one, "val") != seen(other, "val")


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize("empty_folder", [True, False])
def test_a_part_may_lack_a_class_and_keeps_the_numbers(empty_folder: bool, on_device: bool, tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"cat": 20, "dog": 20, "eel": 20}, "val": {"cat": 2, "eel": 3}})
    if empty_folder:
        (tmp_path / "val" / "dog").mkdir()
    data = ready(tmp_path, on_device=on_device, num_workers=0)
    assert torch.cat([batch.targets for batch in data.val_dataloader()]).tolist() == [0, 0, 2, 2, 2]
    assert seen(data, "val") == counter(files["val"])


@pytest.mark.parametrize("suffixes", [(".png", ".jpg", ".JPEG"), (".bmp", ".webp", ".PNG"), (".JPG",)])
def test_files_of_several_formats_are_mixed(suffixes: tuple[str, ...], tmp_path: Path) -> None:
    files = make_folder(tmp_path, {part: TWO for part in ("train", "val", "test")}, suffixes=suffixes)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "notes.txt").write_text("no class")
    data = ready(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert seen(data, "train") == counter(files["train"])


@pytest.mark.parametrize("name", ["notes.txt", "labels.json", "Thumbs.db", ".DS_Store", "._photo.heic"])
def test_other_files_in_class_folders_are_ignored(name: str, tmp_path: Path) -> None:
    files = make_folder(tmp_path, {part: TWO for part in ("train", "val", "test")})
    for part in ("train", "val"):
        (tmp_path / part / "cat" / name).write_text("no image")
    data = ready(tmp_path)
    assert seen(data, "train") == counter(files["train"])
    assert seen(data, "val") == counter(files["val"])


def test_images_in_folders_below_a_class_folder_belong_to_the_class(tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"cat/day/one": 10, "cat/night": 10, "dog": 20}, "val": TWO, "test": TWO})
    data = ready(tmp_path)
    expected = Counter({(pixels, name.split("/")[0]): n for (pixels, name), n in counter(files["train"]).items()})
    assert data.class_names == ("cat", "dog")
    assert seen(data, "train") == expected


@pytest.mark.parametrize(("mode", "suffix"), [("L", ".png"), ("RGBA", ".png"), ("P", ".png"), ("CMYK", ".jpg")])
@pytest.mark.parametrize("on_device", [True, False])
def test_images_of_every_kind_become_rgb(mode: str, suffix: str, on_device: bool, tmp_path: Path) -> None:
    files = []
    for place in range(12):
        path = tmp_path / "train" / "cat" / f"{place}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(16, 16, 3, seed=place)).convert(mode).save(path)
        files.append((path, "cat"))
    rest = make_folder(tmp_path, {"train": {"dog": 12}, "val": TWO, "test": TWO})
    data = ready(tmp_path, on_device=on_device, num_workers=0)
    assert seen(data, "train") == counter([*files, *rest["train"]])


@pytest.mark.parametrize(("image_size", "expected"), [(None, (30, 30)), (8, (8, 8))])
@pytest.mark.parametrize("on_device", [True, False])
def test_images_are_resized_to_the_median_short_side_or_to_the_given_size(
    image_size: int | None, expected: tuple[int, int], on_device: bool, tmp_path: Path
) -> None:
    make_folder(tmp_path, {"train": {"dog": 12}, "val": {"dog": 4}, "test": {"dog": 4}}, size=(50, 30))
    save(noise(10, 14, 3), tmp_path / "train" / "cat" / "a.png")
    save(noise(64, 9, 3), tmp_path / "train" / "cat" / "b.png")
    data = ready(tmp_path, image_size=image_size, on_device=on_device, num_workers=0)
    assert data.image_size == expected
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert {tuple(batch.images.shape[1:]) for batch in loader} == {(3, *expected)}


def measured(images: list[Pixels]) -> tuple[list[float], list[float]]:
    values = np.stack(images).astype(np.float64) / 255
    return values.mean((0, 1, 2)).tolist(), values.std((0, 1, 2)).tolist()


@pytest.mark.parametrize("on_device", ["true", "false"])
def test_mean_and_deviation_are_those_of_the_training_images_and_stand_in_the_checkpoint(
    on_device: str, tiny: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for part, low in (("train", (0, 60, 120)), ("val", (5, 5, 5)), ("test", (9, 9, 9))):
        for place in range(24):
            image = rng.integers(low, np.array(low) + 100, (16, 16, 3), dtype=np.uint8)
            save(image, tmp_path / "set" / part / "ab"[place % 2] / f"{place}.png")
    mean, std = measured([opened(path) for path in (tmp_path / "set" / "train").rglob("*.png")])
    settings = (
        *("--data.dataset=folder", f"--data.root={tmp_path / 'set'}", "--data.batch_size=8"),
        *(f"--data.on_device={on_device}", "--data.num_workers=0"),
        *("--epochs_scale=0.001", "--trainer.limit_train_batches=1"),
    )
    main(["fit", "--config", str(tiny), *settings])
    meta = checkpoint.read(tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt")["dasc"]
    assert meta["mean"] == pytest.approx(mean, abs=6e-5)  # four digits are kept
    assert meta["std"] == pytest.approx(std, abs=6e-5)
    assert meta["classes"] == ["a", "b"]
    assert meta["image_size"] == [16, 16]


def test_batches_of_a_folder_are_normalised_by_its_own_mean_and_deviation(tmp_path: Path) -> None:
    files = make_folder(tmp_path, {part: TWO for part in ("train", "val", "test")})
    data = ready(tmp_path)
    mean, std = measured([opened(path) for path, _ in files["train"]])
    batch = next(iter(data.val_dataloader()))
    expected = (batch.images.permute(0, 2, 3, 1).numpy() / 255 - np.array(mean)) / np.array(std)
    normalised = data.on_after_batch_transfer(batch, 0).images
    assert np.allclose(normalised.permute(0, 2, 3, 1).numpy(), expected, rtol=0, atol=2e-3)


def test_more_images_than_are_measured_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "MEASURED", 600)
    images = noise(1250, 2, 2, 3)
    mean, std = measured(list(images[::3]))  # every second one would be 625
    found = mean_and_std(ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2), torch.zeros(1250)), (2, 2))
    assert found[0] == pytest.approx(mean, abs=6e-5)
    assert found[1] == pytest.approx(std, abs=6e-5)


def test_images_of_one_colour_have_a_deviation_above_zero() -> None:
    images = torch.full((8, 3, 4, 4), 7, dtype=torch.uint8)
    mean, std = mean_and_std(ImageSet(images, torch.zeros(8)), (4, 4))
    assert mean == pytest.approx([7 / 255] * 3, abs=6e-5)
    assert all(0 < value < 0.01 for value in std)


def nothing(root: Path) -> None:
    pass


def no_train(root: Path) -> None:
    make_folder(root, {"val": TWO})


def train_is_empty(root: Path) -> None:
    (root / "train").mkdir(parents=True)


def images_without_classes(root: Path) -> None:
    save(noise(8, 8, 3), root / "train" / "a.png")


def first_class_is_empty(root: Path) -> None:
    make_folder(root, {"train": TWO})
    (root / "train" / "ape").mkdir()


def last_class_is_empty(root: Path) -> None:
    make_folder(root, {"train": TWO})
    (root / "train" / "zebra").mkdir()
    (root / "train" / "zebra" / "notes.txt").write_text("no image")


def unknown_class_in(part: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        make_folder(root, {"train": TWO, part: {"cat": 2, "eel": 2}})

    return write


def empty(part: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        make_folder(root, {"train": TWO})
        (root / part).mkdir()

    return write


def validation_in(*names: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        make_folder(root, {part: TWO for part in ("train", *names)})

    return write


def unsupported(*files: str, parts: tuple[str, ...] = ("train",)) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        make_folder(root, {part: TWO for part in parts})
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text("an image of another type")

    return write


REMEDY = "convert them to JPEG or PNG, or remove them"
KNOWN = "known are .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp"
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no root": (nothing, "there is no folder {}/train: data.root needs class folders under train/, val/ and test/"),
    "no train": (no_train, "there is no folder {}/train: data.root needs class folders under train/, val/ and test/"),
    "an empty train": (
        train_is_empty,
        "{}/train has no class folders: put the images of each class into a folder of its name",
    ),
    "images beside the class folders": (
        images_without_classes,
        "{}/train has no class folders: put the images of each class into a folder of its name",
    ),
    "no image in the first class": (first_class_is_empty, "{}/train/ape has no images: " + KNOWN),
    "no image in the last class": (last_class_is_empty, "{}/train/zebra has no images: " + KNOWN),
    "an unknown class in val": (
        unknown_class_in("val"),
        "{0}/val has a class 'eel' that {0}/train lacks: remove it or add its images",
    ),
    "an unknown class in test": (
        unknown_class_in("test"),
        "{0}/test has a class 'eel' that {0}/train lacks: remove it or add its images",
    ),
    "an unknown class in valid": (
        unknown_class_in("valid"),
        "{0}/valid has a class 'eel' that {0}/train lacks: remove it or add its images",
    ),
    "two validation folders": (
        validation_in("val", "validation"),
        "{} must have at most one validation folder, got val/ and validation/: merge them or remove all but one",
    ),
    "three validation folders": (
        validation_in("val", "valid", "validation"),
        "{} must have at most one validation folder, got val/ and valid/ and validation/: "
        "merge them or remove all but one",
    ),
    **{
        f"an image of type {suffix}": (
            unsupported(f"train/dog/a{suffix}"),
            "{0} has 1 image file of an unsupported type ({0}/train/dog/a"
            + suffix
            + "): convert it to JPEG or PNG, or remove it",
        )
        for suffix in (".heic", ".HEIF", ".avif", ".svg", ".raw", ".CR2", ".nef", ".psd", ".jxl", ".gif")
    },
    "images of unsupported types in all parts": (
        unsupported("test/cat/a.svg", "valid/dog/b.heic", "train/dog/c.heic", parts=("train", "valid", "test")),
        "{0} has 3 image files of an unsupported type (first: {0}/train/dog/c.heic): " + REMEDY,
    ),
    "only images of unsupported types in the first class": (
        unsupported("train/ape/a.heic", "train/ape/sub/b.heic", "train/cat/c.heic"),
        "{0} has 3 image files of an unsupported type (first: {0}/train/ape/a.heic): " + REMEDY,
    ),
    "only images of unsupported types in val": (
        unsupported("val/cat/a.heic", "val/cat/b.heic"),
        "{0} has 2 image files of an unsupported type (first: {0}/val/cat/a.heic): " + REMEDY,
    ),
    "an empty val": (
        empty("val"),
        "{}/val has no images in class folders: add some, or remove it to split it from train/",
    ),
    "an empty test": (
        empty("test"),
        "{}/test has no images in class folders: add some, or remove it to split it from train/",
    ),
}


@pytest.mark.parametrize(("write", "message"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_folder_is_one_sentence(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root)
    with pytest.raises(UserError) as raised:
        ImageData("folder", root=str(root)).counts()
    assert str(raised.value) == message.format(root)


def text_for_an_image(path: Path) -> None:
    path.write_text("no image")


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(("ruin", "suffix"), [(text_for_an_image, ".png"), (truncate, ".jpg")], ids=["text", "half"])
def test_a_broken_image_in_memory_stops_the_command_before_training(
    part: str,
    ruin: Callable[[Path], None],
    suffix: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "set"
    files = make_folder(root, {part: TWO for part in ("train", "val", "test")}, suffixes=(suffix,))
    path = files[part][33][0]
    ruin(path)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(tiny), "--data.dataset=folder", f"--data.root={root}", "--data.batch_size=8"])
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"dasc fit: {path} cannot be read as an image \(.+\): repair or remove it", said)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("on_device", ["true", "false"])
def test_a_broken_test_image_stops_the_test_and_not_the_fit(
    on_device: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    path = make_folder(root, {part: TWO for part in ("train", "val", "test")})["test"][33][0]
    truncate(path)
    settings = (
        *("--config", str(tiny), "--data.dataset=folder", f"--data.root={root}", "--data.batch_size=8"),
        *(f"--data.on_device={on_device}", "--data.num_workers=0"),
    )
    main(["fit", *settings, "--epochs_scale=0.001", "--trainer.limit_train_batches=1"])
    checkpoint_path = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"
    main(["validate", *settings, f"--ckpt_path={checkpoint_path}"])
    for command in ("test", "predict"):
        with pytest.raises(SystemExit) as stop:
            main([command, *settings, f"--ckpt_path={checkpoint_path}"])
        assert stop.value.code == 2
        assert f"{path} cannot be read as an image" in capsys.readouterr().err.splitlines()[-1]


STAGES = {"fit": {"train", "val"}, "validate": {"val"}, "test": {"test"}, "predict": {"test"}}


@pytest.mark.parametrize(("stage", "parts"), STAGES.items(), ids=list(STAGES))
def test_a_stage_decodes_its_own_parts_only(
    stage: str, parts: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path, {part: TWO for part in ("train", "val", "test")})
    data = ImageData("folder", str(tmp_path), batch_size=1, crop="none")
    data.mean, data.std = (0.5,) * 3, (0.5,) * 3  # else the training images are measured
    decoded: list[str] = []

    def decode(paths: list[str], *settings: Any) -> Tensor:
        decoded.extend(Path(path).parts[-3] for path in paths)
        return decode_all(paths, *settings)

    monkeypatch.setattr(memory_module, "decode_all", decode)
    data.setup(stage)
    assert Counter(decoded) == Counter({part: 50 for part in parts})
    data.setup(stage)
    assert len(decoded) == 50 * len(parts)


@pytest.mark.parametrize("first", ["fit", "validate", "test"])
def test_any_stage_may_follow_another_on_the_same_data(first: str, tmp_path: Path) -> None:
    files = make_folder(tmp_path, {part: TWO for part in ("train", "val", "test")})
    data, whole = ImageData("folder", str(tmp_path), batch_size=1, crop="none"), ready(tmp_path)
    data.setup(first)
    for part in ("test", "val", "train"):  # a loader decodes what its stage has not
        assert seen(data, part) == counter(files[part])
    for stage in ("test", "fit"):
        data.setup(stage)
        for part in ("test", "val", "train"):
            assert seen(data, part) == counter(files[part])
    assert (data.mean, data.std) == (whole.mean, whole.std)


@pytest.mark.parametrize("on_device", [True, False])
def test_broken_images_of_all_chunks_and_parts_are_reported_at_once(on_device: bool, tmp_path: Path) -> None:
    files = make_folder(tmp_path, {"train": {"cat": 600, "dog": 600}, "val": TWO, "test": TWO}, size=(4, 4))
    bad = [files["train"][place][0] for place in (3, 550, 1150)]
    if on_device:  # streamed validation images are not decoded before they are used
        bad.append(files["val"][7][0])
    for path in bad:
        path.write_text("no image")
    with pytest.raises(UserError) as raised:
        ready(tmp_path, on_device=on_device)
    named = ", ".join(map(str, bad[:3])) + (", ..." if on_device else "")
    assert str(raised.value) == f"{len(bad)} files cannot be read as images ({named}): repair or remove them"


def test_folder_stands_beside_the_sets_that_are_known_by_name() -> None:
    assert "folder" not in DATASETS
    with pytest.raises(UserError, match=re.escape("unknown data set 'foldr': did you mean folder?")):
        ImageData("foldr")
