from typing import Any

import pytest

from dasc.errors import UserError
from dasc.study.specification.axes import is_rows, is_seed, label_of, parse_axis, with_rows

ROWS: list[dict[str, Any]] = [{"epochs": 3}, {"epochs": 2, "sparsity": 0.2}, {"epochs": 1, "sparsity": 0.6}]


def test_values_of_a_key_are_labelled_by_themselves_and_ranges_are_spelled_out() -> None:
    axis = parse_axis("magnitude", {"stages[*].magnitude": ["none", "0..2", 14, [14, 4]]})
    assert list(axis) == ["none", "0", "1", "2", "14", "[14, 4]"]
    assert [value["stages[*].magnitude"] for value in axis.values()] == ["none", 0, 1, 2, 14, [14, 4]]


def test_a_range_may_stand_alone() -> None:
    assert list(parse_axis("seed", {"seed_everything": "3..5"})) == ["3", "4", "5"]


def test_labels_have_overrides_of_several_keys_or_none() -> None:
    axis = parse_axis("scheme", {"plain": None, "strong": {"data.cutout": 4, "stages[0].magnitude": 20}})
    assert axis == {"plain": {}, "strong": {"data.cutout": 4, "stages[0].magnitude": 20}}


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("stages[*].magnitude", {0, 1, 2}),
        ("stages[1:].magnitude", {1, 2}),
        ("stages[:2].magnitude", {0, 1}),
        ("stages[0].magnitude", {0}),
        ("stages[-1].magnitude", {2}),
        ("stages[-2:].magnitude", {1, 2}),
    ],
)
def test_rows_are_named_as_python_names_them(key: str, changed: set[int]) -> None:
    assert is_rows(key)
    rows = with_rows(ROWS, key, 5)
    assert rows == [row | {"magnitude": 5} if number in changed else row for number, row in enumerate(ROWS)]
    assert "magnitude" not in ROWS[0]


@pytest.mark.parametrize("key", ["stages", "stages[].lr", "stages[*]", "data.stages[0].x", "stages[a].lr"])
def test_other_keys_name_no_rows(key: str) -> None:
    assert not is_rows(key)


def test_an_axis_of_seeds_changes_nothing_else() -> None:
    assert is_seed(parse_axis("seed", {"seed_everything": "0..2"}))
    assert not is_seed({"a": {"seed_everything": 0, "data.cutout": 4}})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2], "axis a is written"),
        ({}, "axis a is written"),
        ({"x": []}, "axis a has no values"),
        ({"x": [1, 2], "y": [3]}, "several keys with values"),
        ({"x": [1, "1"]}, "a value twice"),
        ({"x": {"k": 1}, "y": 3}, "several keys with values"),
    ],
)
def test_what_is_no_axis_is_said(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_axis("a", given)


@pytest.mark.parametrize("key", ["stages[3].magnitude", "stages[-4].magnitude", "stages[5:].magnitude"])
def test_a_row_that_is_not_there_is_said(key: str) -> None:
    with pytest.raises(UserError, match="names no row: the table has 3"):
        with_rows(ROWS, key, 5)


def test_a_label_is_written_as_in_yaml() -> None:
    assert list(parse_axis("a", {"data.on_device": [True, False, 0.5, "x"]})) == ["true", "false", "0.5", "x"]
    assert list(parse_axis("a", {True: {"data.on_device": True}, "no": {}})) == ["true", "no"]
    assert [label_of(label) for label in (True, 4, "none")] == ["true", "4", "none"]
