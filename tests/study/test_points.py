"""From rows of results.csv to points: which rows count, how often, and in which order."""

import math
from typing import Any

import pytest

from dasc.study.points import Point, bar_points, magnitude_points, maximal, optimal, sparsity_points
from dasc.study.statistics import summarise


def row(run: str, stage: int, sparsity: float, magnitude: str, accuracy: float | None, **more: Any) -> dict[str, Any]:
    known = {"part": "study", "run": run, "seed": 0, "stage": stage, "final": 0}
    measured = {"test_accuracy": accuracy, "test_nll": None if accuracy is None else 1 - accuracy}
    return known | {"sparsity_asked": sparsity, "magnitude": magnitude} | measured | more


def test_the_last_row_of_each_sparsity_counts() -> None:
    rows = [
        row("a", 1, 0.0, "14", 0.1, axis_s="x"),
        row("a", 3, 0.5, "4", 0.4, axis_s="x", final=1),
        row("a", 2, 0.5, "8", 0.3, axis_s="x"),
    ]
    assert {s: p.values for s, p in sparsity_points(rows, {"s": ["x"]}, "test_accuracy", "s")[""]["x"].items()} == {
        0.0: {0: 0.1},
        0.5: {0: 0.4},
    }
    by_magnitude = magnitude_points(rows, {"s": ["x"]}, "test_accuracy")[""]
    assert {s: list(of) for s, of in by_magnitude.items()} == {0.0: ["14"], 0.5: ["4"]}


def test_a_stage_that_runs_share_counts_once() -> None:
    rows = [
        row(f"{run}{seed}", 1, 0.0, "8", accuracy, seed=seed, axis_p=run)
        for run in ("a", "b")
        for seed, accuracy in ((0, 0.5), (1, 0.75))
    ]
    found = magnitude_points(rows, {"p": ["a", "b"]}, "test_accuracy")[""][0.0]["8"]
    assert found.summary.n == 2
    assert found.values == {0: 0.5, 1: 0.75}


def test_different_stages_of_one_setting_and_seed_are_averaged() -> None:
    rows = [row(run, 1, 0.0, "8", value, axis_p=run) for run, value in (("a", 0.5), ("b", 0.5), ("c", 1.0))]
    found = magnitude_points(rows, {"p": ["a", "b", "c"]}, "test_accuracy")[""][0.0]["8"]
    assert found.values == {0: 0.75}  # a and b are the same stage


def test_only_the_studys_own_runs_count() -> None:
    rows = [row("a", 1, 0.0, "8", 0.5), row("t", 1, 0.0, "8", 0.9, part="teacher")]
    assert magnitude_points(rows, {}, "test_accuracy")[""][0.0]["8"].values == {0: 0.5}


def test_magnitudes_are_in_order_of_their_number_with_none_after_them() -> None:
    rows = [row(m, 1, 0.0, m, 0.5) for m in ("random", "10", "none", "9", "0", "[14, 4]")]
    assert list(magnitude_points(rows, {}, "test_accuracy")[""][0.0]) == ["0", "9", "10", "none", "[14, 4]", "random"]


def test_missing_values_are_left_out() -> None:
    rows = [
        row("a", 1, 0.0, "4", None),
        row("b", 1, 0.0, "8", 0.5),
        row("c", 1, 0.0, "8", math.nan, seed=1),
        row("d", 1, 0.5, "8", None),
    ]
    found = magnitude_points(rows, {}, "test_accuracy")[""]
    assert list(found) == [0.0]
    assert list(found[0.0]) == ["8"]
    assert found[0.0]["8"].summary.n == 1


def test_bars_are_final_rows_in_the_files_order() -> None:
    axes = {"net": ["z", "a"], "scheme": ["ours", "base"], "data": ["one"]}
    rows = [
        row(f"{net}{scheme}", stage, 0.5, "4", 0.1 * stage, final=int(stage == 2), axis_net=net, axis_scheme=scheme)
        | {"axis_data": "one"}
        for net in ("a", "z")
        for scheme in ("base", "ours")
        for stage in (1, 2)
    ]
    found = bar_points(rows, axes, "test_accuracy", "scheme", "net", "data")
    assert list(found) == ["one"]
    assert list(found["one"]) == ["z", "a"]
    assert list(found["one"]["z"]) == ["ours", "base"]
    assert {point.summary.mean for groups in found["one"].values() for point in groups.values()} == {0.2}


def test_one_run_under_two_labels_is_on_both_lines() -> None:
    rows = [row("a", 1, 0.0, "4", 0.5, axis_s=label) for label in ("x", "y")]
    found = sparsity_points(rows, {"s": ["x", "y"]}, "test_accuracy", "s")[""]
    assert {label: of[0.0].values for label, of in found.items()} == {"x": {0: 0.5}, "y": {0: 0.5}}


@pytest.mark.parametrize(
    ("means", "best", "largest"),
    [
        ({"m0": 0.5, "m4": 0.7, "m10": 0.6, "m20": 0.3, "none": 0.5}, "4", 10),
        ({"m10": 0.7, "m9": 0.7, "none": 0.1}, "9", 10),  # ties: the smaller number, not the smaller string
        ({"m0": 0.7, "m4": 0.5, "none": 0.7}, "none", 0),
        ({"m0": 0.5, "m4": 0.4, "none": 0.6}, "none", None),
        ({"m4": 0.5, "m8": 0.6}, "8", None),
        ({"m4": 0.5, "mrandom": 0.9, "none": 0.4}, "4", 4),
        ({}, None, None),
    ],
)
def test_optimal_and_maximal_magnitude(means: dict[str, float], best: str | None, largest: int | None) -> None:
    means = {name.replace("mrandom", "random"): mean for name, mean in means.items()}
    found = {name.removeprefix("m"): Point(summarise([mean]), {0: mean}) for name, mean in means.items()}
    assert optimal(found) == best
    assert maximal(found) == largest


def test_a_lower_nll_is_the_better_one() -> None:
    found = {m: Point(summarise([v]), {0: v}) for m, v in (("0", 0.9), ("4", 0.5), ("8", 0.7), ("none", 0.8))}
    assert optimal(found, "test_nll") == "4"
    assert maximal(found, "test_nll") == 8
    assert optimal(found, "test_accuracy") == "0"
    assert maximal(found, "test_accuracy") == 0
