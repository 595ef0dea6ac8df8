"""The split of files by the hash of their names."""

import random
import unicodedata
from pathlib import Path

import pytest
import torch

from dasc.data import FileSet, ImageData
from dasc.data.sets import Parts
from dasc.data.splits import digest, hash_of, hash_split, split
from dasc.data.unseen import trained_names
from dasc.errors import UserError
from tests.support.files import make_folder


def files(counts: dict[str, int], first: int = 0) -> FileSet:
    """Files 000.jpg, ... of some classes."""
    names = [(f"{name}/{number:03}.jpg", k) for k, name in enumerate(counts) for number in range(first, counts[name])]
    return FileSet([f"photos/train/{name}" for name, _ in names], torch.tensor([k for _, k in names]), "photos/train")


def parts_of(source: FileSet, seed: int = 0, share: float = 0.1) -> dict[str, str]:
    """The part of each file, by its name."""
    sets = split(Parts(source, None, None), share, None, seed).sets
    found: dict[str, str] = {}
    for part, images in sets.items():
        assert isinstance(images, FileSet)
        assert not found.keys() & images.names()
        found |= dict.fromkeys(images.names(), part)
    assert found.keys() == set(source.names())
    return found


@pytest.mark.parametrize("seed", range(3))
def test_no_old_image_changes_its_part_when_photos_are_added(seed: int) -> None:
    before, after = (parts_of(files({f"class {k}": count for k in range(20)}), seed) for count in (100, 140))
    assert {name: after[name] for name in before} == before
    assert set(after.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("count", [4, 7, 12, 20])
@pytest.mark.parametrize("seed", range(4))
def test_small_classes_have_every_part_and_added_photos_never_make_a_training_image_another(
    count: int, seed: int
) -> None:
    draw = random.Random(f"{count} {seed}")
    names = [f"{name}/{number}.png" for name in "abcdefgh" for number in range(60)]
    chosen = {name: draw.sample([n for n in names if n[0] == name], count) for name in "abcdefgh"}
    before = parts_of(_set(chosen), seed)
    for name in "abcdefgh":
        assert {before[file] for file in chosen[name]} == {"train", "val", "test"}
        chosen[name] = sorted({*chosen[name], *draw.sample([n for n in names if n[0] == name], 10)})
    after = parts_of(_set(chosen), seed)
    changed = {(before[name], after[name]) for name in before if before[name] != after[name]}
    assert not {("train", "val"), ("train", "test")} & changed


def _set(chosen: dict[str, list[str]]) -> FileSet:
    names = [(name, k) for k, files in enumerate(chosen.values()) for name in files]
    return FileSet([name for name, _ in names], torch.tensor([k for _, k in names]))


def test_shares_are_those_of_independent_draws() -> None:
    names, targets = [f"a/{number}" for number in range(20_000)], torch.zeros(20_000, dtype=torch.int64)
    test, val, other = (
        set(hash_split(names, targets, 0.1, seed, part)[1].tolist())
        for seed, part in ((0, "test"), (0, "val"), (1, "val"))
    )
    for found in (test, val, other):
        assert len(found) == pytest.approx(2000, abs=4 * (20_000 * 0.1 * 0.9) ** 0.5)
    for one, two in ((test, val), (val, other)):
        assert len(one & two) == pytest.approx(200, abs=4 * (20_000 * 0.01 * 0.99) ** 0.5)


def test_the_part_does_not_depend_on_the_place_of_the_folder_or_the_order_or_the_unicode_form() -> None:
    names = [f"café/{number}" for number in range(200)]
    targets = torch.zeros(200, dtype=torch.int64)
    expected = {names[i] for i in hash_split(names, targets, 0.1, 0, "test")[1].tolist()}
    other = [unicodedata.normalize("NFD", name) for name in reversed(names)]
    found = {other[i] for i in hash_split(other, targets, 0.1, 0, "test")[1].tolist()}
    assert {unicodedata.normalize("NFC", name) for name in found} == expected
    assert digest(names, torch.arange(200)) == digest(other, torch.arange(200))
    moved = FileSet([f"/mnt/other/{name}" for name in names], targets, "/mnt/other")
    assert moved.names() == names


def test_a_class_that_cannot_be_split_is_named() -> None:
    with pytest.raises(UserError, match="class 'dog' has too few training images to split off a val part"):
        parts_of(files({"cat": 10, "dog": 2}))


def test_the_exception_is_the_smallest_hash() -> None:
    values = {name: hash_of(name, 5, "val") for name in (f"a/{number}" for number in range(30))}
    above = [name for name in values if values[name] >= 0.1]
    _, taken = hash_split(above, torch.zeros(len(above), dtype=torch.int64), 0.1, 5, "val")
    assert [above[i] for i in taken.tolist()] == [min(above, key=values.__getitem__)]


def test_a_training_image_that_removed_files_bring_into_test_is_known_as_such() -> None:
    source = files({"cat": 100, "dog": 100})
    whole = split(Parts(source, None, None), 0.1, None, 0)
    record, names = whole.record(source), source.names()
    assert trained_names(record, source, whole.sets["test"], whole.places["test"]) == []
    gone = {names[i] for i in whole.places["test"].tolist() if names[i].startswith("cat")}
    kept = torch.tensor([i for i, name in enumerate(names) if name not in gone])
    rest = source.subset(kept)
    smaller = split(Parts(rest, None, None), 0.1, None, 0)
    forced = [name for name in smaller.sets["test"].names() if name.startswith("cat")]  # type: ignore[union-attr]
    assert len(forced) == 1
    assert trained_names(record, rest, smaller.sets["test"], smaller.places["test"]) == forced


def test_folders_are_split_alike_before_and_after_40_more_photos_of_each_class(tmp_path: Path) -> None:
    found = []
    for count in (60, 100):
        make_folder(tmp_path, {"train": {"cat": count, "dog": count, "eel": count}}, size=(4, 4))
        sets = ImageData("folder", str(tmp_path), batch_size=8).source.read()
        found.append({name: part for part, images in sets.items() for name in images.names()})  # type: ignore[union-attr]
    assert len(found[0]) == 180
    assert {name: found[1][name] for name in found[0]} == found[0]
