import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dasc.cli import main
from dasc.data import ImageData, ImageSet
from dasc.data.sets import Parts
from dasc.data.splits import split
from dasc.errors import UserError
from tests.support.files import make_folder

TRAIN, VAL, TEST = 1149, 288, 360


def parts(**settings: Any) -> dict[str, list[tuple[bytes, int]]]:
    """The digits of each part, as their loaders give them."""
    data = ImageData(batch_size=1, crop="none", **settings)
    data.setup("fit")
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    return {
        name: sorted(
            (image.numpy().tobytes(), int(target))
            for batch in loader
            for image, target in zip(batch.images, batch.targets, strict=True)
        )
        for name, loader in loaders.items()
    }


def numbered(targets: Tensor) -> ImageSet:
    return ImageSet(torch.arange(len(targets)), targets)


@pytest.fixture(scope="module")
def everything() -> dict[str, list[tuple[bytes, int]]]:
    return parts()


@pytest.mark.parametrize(("size", "count"), [(200, 200), (10, 10), (0.5, math.ceil(TRAIN / 2)), (0.02, 23)])
def test_a_smaller_training_set_is_stratified_and_fixed_and_leaves_the_other_parts_alone(
    size: float, count: int, everything: dict[str, list[tuple[bytes, int]]]
) -> None:
    smaller = parts(train_size=size)
    assert len(smaller["train"]) == count
    assert Counter(smaller["train"]) <= Counter(everything["train"])
    classes = Counter(target for _, target in smaller["train"])
    for target, whole in Counter(target for _, target in everything["train"]).items():
        assert classes[target] == pytest.approx(whole * count / TRAIN, abs=1)
    assert smaller["val"] == everything["val"]
    assert smaller["test"] == everything["test"]
    assert parts(train_size=size)["train"] == smaller["train"]


@pytest.mark.parametrize("size", [None, 1.0, TRAIN])
def test_the_whole_training_set_is_kept(size: float | None, everything: dict[str, list[tuple[bytes, int]]]) -> None:
    assert parts(train_size=size) == everything


@pytest.mark.parametrize("size", [None, 300])
def test_another_seed_of_the_split_changes_train_and_val_and_never_test(size: int | None) -> None:
    one, other = (parts(split_seed=seed, train_size=size) for seed in (0, 1))
    assert one["test"] == other["test"]
    assert one["val"] != other["val"]
    assert one["train"] != other["train"]


def test_a_smaller_training_set_is_another_one_with_another_seed_where_val_is_given(tmp_path: Path) -> None:
    make_folder(tmp_path, {part: {"cat": 20, "dog": 20} for part in ("train", "val", "test")})
    one, other, again = (
        parts(dataset="folder", root=str(tmp_path), train_size=20, split_seed=seed) for seed in (0, 1, 0)
    )
    assert one == again
    assert one["train"] != other["train"]
    assert (one["val"], one["test"]) == (other["val"], other["test"])


@pytest.mark.parametrize("val", [True, False])
@pytest.mark.parametrize("test", [True, False])
def test_only_missing_parts_are_carved_and_nothing_is_in_two(val: bool, test: bool) -> None:
    train = numbered(torch.arange(1000) % 4)
    given = numbered(torch.arange(12) % 4)
    found = split(Parts(train, given if val else None, given if test else None), 0.2, None, seed=3).sets
    expected = {"val": 12 if val else 160 if not test else 200, "test": 12 if test else 200}
    assert {name: len(found[name].targets) for name in ("val", "test")} == expected
    carved = [found["train"], *(found[name] for name, there in (("val", val), ("test", test)) if not there)]
    places = [place for part in carved if isinstance(part, ImageSet) for place in part.images.tolist()]
    assert sorted(places) == list(range(1000))
    for part in carved:
        assert isinstance(part, ImageSet)
        assert part.targets.tolist() == [place % 4 for place in part.images.tolist()]
        assert set(torch.bincount(part.targets).tolist()) == {len(part.targets) // 4}


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "train_size is 0, there are 1149 training images: write a count or a share up to 1.0"),
        (0.0, "train_size is 0.0, there are 1149 training images: write a count or a share up to 1.0"),
        (-5, "train_size is -5, there are 1149 training images: write a count or a share up to 1.0"),
        (1.5, "train_size is 1.5, there are 1149 training images: write a count or a share up to 1.0"),
        (1150, "train_size is 1150, there are 1149 training images: write a count or a share up to 1.0"),
        (9, "9 of 1149 images cannot be split off with every class in its share"),
        (1, "1 of 1149 images cannot be split off with every class in its share"),
        (0.001, "0.001 of 1149 images cannot be split off with every class in its share"),
    ],
)
def test_a_training_set_that_cannot_be_is_one_sentence(size: float, message: str) -> None:
    with pytest.raises(UserError) as raised:
        ImageData(train_size=size).counts()
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("size", "said"), [("1.5", "train_size is 1.5"), ("9", "9 of 1149 images")])
def test_the_command_says_it_before_anything_is_written(
    size: str, said: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(tiny), f"--data.train_size={size}"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"dasc fit: {said}")
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize(("written", "count"), [("1.0", TRAIN), ("0.5", 575), ("500", 500), ("null", TRAIN)])
def test_a_count_and_a_share_are_told_apart_on_the_command_line(
    written: str, count: int, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "--config", str(tiny), f"--data.train_size={written}"])
    assert f"{count:,} train, {VAL} val, {TEST} test" in " ".join(capsys.readouterr().out.split())


def test_a_count_that_was_parsed_as_a_float_is_a_count() -> None:
    assert ImageData(train_size=500.0).train_size == 500
    assert isinstance(ImageData(train_size=500.0).train_size, int)
    assert ImageData(train_size=500.0).counts() == ImageData(train_size=500).counts()
