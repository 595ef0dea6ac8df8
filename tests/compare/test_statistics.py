"""The Pareto rule, the paired test, and short names."""

from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch

from dasc.compare.labels import place_labels
from dasc.compare.names import short_names
from dasc.compare.paired import holm, mcnemar
from dasc.compare.pareto import Point, on_front

POINTS = {
    "small and accurate": (Point(1, 0.90, 0.94), True),
    "dear and no worse": (Point(9, 0.90, 0.95), True),
    "dear, its interval touches": (Point(9, 0.80, 0.90), True),
    "as cheap, its interval is below": (Point(1, 0.80, 0.89), False),
    "dear, its interval is below": (Point(5, 0.80, 0.89), False),
    "cheaper than all others": (Point(0.9, 0.10, 0.20), True),
}


def test_only_an_interval_above_at_no_more_cost_dominates() -> None:
    assert on_front([point for point, _ in POINTS.values()]) == [on for _, on in POINTS.values()]
    assert on_front([Point(3, 0.1, 0.2)]) == [True]


def test_mcnemar_counts_the_images_that_one_network_alone_classifies_correctly() -> None:
    first = torch.tensor([True] * 50 + [True] * 9 + [False] * 1 + [False] * 40)
    second = torch.tensor([True] * 50 + [False] * 9 + [True] * 1 + [False] * 40)
    pair = mcnemar(first, second)
    assert (pair.only_first, pair.only_second, pair.images) == (9, 1, 100)
    assert pair.p_value == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10)
    assert pair.difference == pytest.approx(-8)
    assert mcnemar(first, first).p_value == 1


def test_p_values_are_adjusted_for_their_number() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.4]) == pytest.approx([0.9, 0.8])
    assert holm([]) == []


def test_names_are_as_short_as_they_are_distinct() -> None:
    run = Path("/data/lightning_logs/version_0")
    assert short_names([run / "checkpoints" / "best.ckpt", run / "export" / "model.onnx"]) == [
        "version_0/best.ckpt",
        "export/model.onnx",
    ]
    other = Path("/data/lightning_logs/version_1")
    names = short_names([run / "export" / "model.onnx", other / "export" / "model.onnx", Path("a/model.pt")])
    assert names == ["version_0/export/model.onnx", "version_1/export/model.onnx", "a/model.pt"]
    paths = [run / "checkpoints" / "best.ckpt", run / "best.ckpt"]
    assert short_names(paths) == [str(path) for path in paths]


@pytest.mark.parametrize("spread", [0.0, 5.0, 300.0])
def test_labels_cover_neither_each_other_nor_points(spread: float) -> None:
    generator = np.random.default_rng(0)
    points = np.array([200.0, 150.0]) + spread * (generator.random((8, 2)) - 0.5)
    sizes = np.column_stack([generator.integers(90, 190, 8), np.full(8, 14.0)]).astype(float)
    obstacles = np.concatenate([points - 5, points + 5], axis=1)
    corners = place_labels(points, sizes, obstacles, 400, 300)
    boxes = [*np.concatenate([corners, corners + sizes], axis=1)]
    for box in boxes:
        assert (box >= 0).all()
        assert box[2] <= 400
        assert box[3] <= 300
        assert not any(_overlap(box, obstacle) for obstacle in obstacles)
    assert not any(_overlap(one, other) for one, other in combinations(boxes, 2))


def test_a_label_is_next_to_its_point_where_nothing_else_is() -> None:
    (corner,) = place_labels(np.array([[200.0, 150.0]]), np.array([[60.0, 12.0]]), np.empty((0, 4)), 400, 300)
    assert corner[0] <= 200 <= corner[0] + 60
    assert corner[1] <= 150 <= corner[1] + 12


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one[:2] < other[2:]).all() and (other[:2] < one[2:]).all())
