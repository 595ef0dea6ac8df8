"""From rows of results.csv to points: which rows count, how often, and in which order."""

import math
from typing import Any

import pytest

from dasc.study.analysis.figures import StudyFigure
from dasc.study.analysis.figures.bars import BarsFigure
from dasc.study.analysis.figures.macs import MacsFigure
from dasc.study.analysis.figures.magnitude import MagnitudeFigure
from dasc.study.analysis.figures.sparsity import SparsityFigure
from dasc.study.analysis.results import last_rows, maximal, optimal, seed_values
from tests.support.results import results


def row(run: str, stage: int, sparsity: float, magnitude: str, accuracy: float | None, **more: Any) -> dict[str, Any]:
    known = {"part": "study", "run": run, "seed": 0, "stage": stage, "final": 0}
    measured = {"test_accuracy": accuracy, "test_nll": None if accuracy is None else 1 - accuracy}
    return known | {"sparsity_asked": sparsity, "magnitude": magnitude} | measured | more


def means(figure: StudyFigure, rows: list[dict[str, Any]], axes: dict[str, list[str]]) -> dict[Any, float]:
    """Return the mean of each point by panel, line and x."""
    return dict(figure.points(results(rows, axes))["mean"])


def at(rows: list[dict[str, Any]], axes: dict[str, list[str]]) -> dict[Any, float]:
    """Return the values at M = 8, by seed."""
    values = seed_values(last_rows(results(rows, axes)), ["magnitude"], "test_accuracy")
    return dict(values.xs("8", level="magnitude"))


def test_the_last_row_of_each_sparsity_counts() -> None:
    rows = [
        row("a", 1, 0.0, "14", 0.1, axis_s="x"),
        row("a", 3, 0.5, "4", 0.4, axis_s="x", final=1),
        row("a", 2, 0.5, "8", 0.3, axis_s="x"),
    ]
    axes = {"s": ["x"]}
    assert means(SparsityFigure(lines="s"), rows, axes) == {("", "x", 0.0): 10.0, ("", "x", 0.5): 40.0}
    assert list(means(MagnitudeFigure(), rows, axes)) == [("", 0.0, "14"), ("", 0.5, "4")]


def test_a_stage_that_runs_share_counts_once() -> None:
    rows = [
        row(f"{run}{seed}", 1, 0.0, "8", accuracy, seed=seed, axis_p=run)
        for run in ("a", "b")
        for seed, accuracy in ((0, 0.5), (1, 0.75))
    ]
    axes = {"p": ["a", "b"]}
    assert MagnitudeFigure().points(results(rows, axes))["n"].tolist() == [2]
    assert at(rows, axes) == {0: 0.5, 1: 0.75}


def test_different_stages_of_one_setting_and_seed_are_averaged() -> None:
    rows = [row(run, 1, 0.0, "8", value, axis_p=run) for run, value in (("a", 0.5), ("b", 0.5), ("c", 1.0))]
    assert at(rows, {"p": ["a", "b", "c"]}) == {0: 0.75}  # a and b are the same stage


def test_only_the_studys_own_runs_count() -> None:
    rows = [row("a", 1, 0.0, "8", 0.5), row("t", 1, 0.0, "8", 0.9, part="teacher")]
    assert at(rows, {}) == {0: 0.5}


def test_magnitudes_are_in_order_of_their_number_with_none_after_them() -> None:
    rows = [row(m, 1, 0.0, m, 0.5) for m in ("random", "10", "none", "9", "0", "[14, 4]")]
    found = [m for _, _, m in means(MagnitudeFigure(), rows, {})]
    assert found == ["0", "9", "10", "none", "[14, 4]", "random"]


def test_missing_values_are_left_out() -> None:
    rows = [
        row("a", 1, 0.0, "4", None),
        row("b", 1, 0.0, "8", 0.5),
        row("c", 1, 0.0, "8", math.nan, seed=1),
        row("d", 1, 0.5, "8", None),
    ]
    points = MagnitudeFigure().points(results(rows, {}))
    assert dict(points["n"]) == {("", 0.0, "8"): 1}


def test_bars_are_final_rows_in_the_files_order() -> None:
    axes = {"net": ["z", "a"], "scheme": ["ours", "base"], "data": ["one"]}
    rows = [
        row(f"{net}{scheme}", stage, 0.5, "4", 0.1 * stage, final=int(stage == 2), axis_net=net, axis_scheme=scheme)
        | {"axis_data": "one"}
        for net in ("a", "z")
        for scheme in ("base", "ours")
        for stage in (1, 2)
    ]
    found = means(BarsFigure(bars="scheme", groups="net", panels="data"), rows, axes)
    assert list(found) == [("one", net, scheme) for net in ("z", "a") for scheme in ("ours", "base")]
    assert set(found.values()) == {20.0}


def test_one_run_under_two_labels_is_on_both_lines() -> None:
    rows = [row("a", 1, 0.0, "4", 0.5, axis_s=label) for label in ("x", "y")]
    found = means(SparsityFigure(lines="s"), rows, {"s": ["x", "y"]})
    assert found == {("", "x", 0.0): 50.0, ("", "y", 0.0): 50.0}


@pytest.mark.parametrize(
    ("means", "best", "largest"),
    [
        ({"m0": 0.5, "m4": 0.7, "m10": 0.6, "m20": 0.3, "none": 0.5}, "4", 10),
        ({"m10": 0.7, "m9": 0.7, "none": 0.1}, "9", 10),  # ties: the smaller number, not the smaller string
        ({"m0": 0.7, "m4": 0.5, "none": 0.7}, "none", 0),
        ({"m0": 0.5, "m4": 0.4, "none": 0.6}, "none", None),
        ({"m4": 0.5, "m8": 0.6}, "8", None),
        ({"m4": 0.5, "random": 0.9, "none": 0.4}, "4", 4),
        ({}, None, None),
    ],
)
def test_optimal_and_maximal_magnitude(means: dict[str, float], best: str | None, largest: int | None) -> None:
    found = {name.removeprefix("m"): mean for name, mean in means.items()}
    assert optimal(found) == best
    assert maximal(found) == largest


def test_a_lower_nll_is_the_better_one() -> None:
    found = {"0": 0.9, "4": 0.5, "8": 0.7, "none": 0.8}
    assert optimal(found, "test_nll") == "4"
    assert maximal(found, "test_nll") == 8
    assert optimal(found, "test_accuracy") == "0"
    assert maximal(found, "test_accuracy") == 0


def shrunk(run: str, stage: int, channels: float, macs: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """Return a row of a network with fewer channels."""
    return row(run, stage, 0.0, "4", accuracy, channels=channels, macs=macs, parameters=macs, **more)


def test_macs_are_of_the_last_stage_at_each_share_of_channels_and_their_mean_over_seeds() -> None:
    rows = [
        shrunk("a", 1, 0.0, 1000, 0.9),
        shrunk("a", 2, 0.5, 200, 0.5),
        shrunk("a", 3, 0.5, 200, 0.7, final=1),
        shrunk("b", 1, 0.0, 1000, 0.8, seed=1),
        shrunk("b", 2, 0.5, 300, 0.6, seed=1, final=1),
    ]
    found = MacsFigure().points(results(rows, {}))
    assert found["mean"].tolist() == pytest.approx([85.0, 65.0])
    assert found["macs"].tolist() == [1000, 250]
    assert found["n"].tolist() == [2, 2]


def test_macs_along_an_axis_are_of_final_stages() -> None:
    rows = [
        shrunk("a", 1, 0.0, 1000, 0.9, axis_c="0.5", axis_m="4"),
        shrunk("a", 2, 0.5, 250, 0.5, axis_c="0.5", axis_m="4", final=1),
        shrunk("b", 1, 0.0, 1000, 0.9, axis_c="0", axis_m="4"),
        shrunk("b", 2, 0.0, 1000, 0.8, axis_c="0", axis_m="4", final=1),
        shrunk("c", 2, 0.5, 250, 0.6, axis_c="0.5", axis_m="8", final=1),
    ]
    axes = {"c": ["0", "0.5"], "m": ["4", "8"]}
    found = MacsFigure(lines="m", sizes="c").points(results(rows, axes))
    assert dict(found["mean"]) == {("", "4", "0"): 80.0, ("", "4", "0.5"): 50.0, ("", "8", "0.5"): 60.0}
    assert found["macs"].tolist() == [1000, 250, 250]


def test_a_run_without_channels_has_one_point_over_macs() -> None:
    rows = [row("a", 1, 0.0, "4", 0.5, macs=10, parameters=3), row("a", 2, 0.8, "4", 0.25, macs=10, parameters=3)]
    assert means(MacsFigure(), rows, {}) == {("", "", 0.0): 25.0}
