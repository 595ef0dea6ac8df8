import json
import math
import re
from fractions import Fraction
from typing import Any

import pytest

from dasc.errors import UserError
from dasc.stages import Constant, Magnitude, Stage, Stages, lr_at, lr_factor
from tests.support.errors import user_error

TABLE: list[dict[str, Any]] = [
    {"epochs": 3, "magnitude": [14, 4], "auxiliary": 2, "lr": 0.4},
    {"epochs": 1, "sparsity": 0.2, "magnitude": 0, "auxiliary": 2},
    {"epochs": 5, "sparsity": 0.2, "magnitude": "random"},
    {"epochs": 2, "sparsity": 0.6},
]


@pytest.mark.parametrize(
    ("epochs", "line", "expected"),
    [
        (1, [3, 10], [3]),
        (1, [30, 0], [30]),
        (2, [0, 30], [0, 30]),
        (3, [0, 1], [0, 1, 1]),
        (3, [1, 0], [1, 1, 0]),
        (3, [30, 29], [30, 30, 29]),
        (4, [2, 3], [2, 2, 3, 3]),
        (4, [0, 30], [0, 10, 20, 30]),
        (5, [14, 4], [14, 12, 9, 7, 4]),
        (3, [7, 7], [7, 7, 7]),
    ],
)
def test_the_magnitude_of_a_line_is_rounded_half_up(epochs: int, line: list[int], expected: list[int]) -> None:
    stages = Stages.parse([{"epochs": 2}, {"epochs": epochs, "magnitude": line}, {"epochs": 1, "magnitude": 5}])
    assert [stages.value("magnitude", epoch) for epoch in range(stages.total_epochs)] == ["none", "none", *expected, 5]


@pytest.mark.parametrize("epochs", [2, 3, 7, 12])
def test_every_line_follows_the_formula_in_exact_arithmetic(epochs: int) -> None:
    for start in range(31):
        for end in range(31):
            stages = Stages([Stage(epochs=epochs, magnitude=(start, end))])
            got = [stages.value("magnitude", epoch) for epoch in range(epochs)]
            half = Fraction(1, 2)
            assert got == [math.floor(start + Fraction((end - start) * e, epochs - 1) + half) for e in range(epochs)]


@pytest.mark.parametrize("magnitude", ["none", "random", 0, 30])
def test_a_magnitude_that_is_no_line_holds_in_every_epoch(magnitude: Magnitude) -> None:
    stages = Stages.parse([{"epochs": 3, "magnitude": magnitude}])
    assert [stages.value("magnitude", epoch) for epoch in range(3)] == [magnitude] * 3


def test_what_is_left_out_has_its_default_and_nothing_carries_over() -> None:
    stages = Stages.parse([{"epochs": 2, "magnitude": 14, "auxiliary": 3, "lr": 0.5}, {"epochs": 4}])
    assert stages[1] == Stage(epochs=4, sparsity=0.0, magnitude="none", auxiliary=0, lr=None)


def test_zero_is_a_value_and_not_a_missing_one() -> None:
    row = Stage.parse({"epochs": 1, "sparsity": 0.0, "magnitude": 0, "auxiliary": 0})
    assert (row.sparsity, row.magnitude, row.auxiliary) == (0.0, Constant(0), 0)
    assert row != Stage(epochs=1)
    assert row.dump() == {"epochs": 1, "magnitude": 0}


def test_the_learning_rate_rises_in_the_first_epoch_and_falls_along_a_cosine() -> None:
    stages = Stages.parse([{"epochs": 5}, {"epochs": 2, "lr": 0.4}])
    first = [0.3, 0.6, 0.9, 0.8657458, 0.7681981, 0.6222076, 0.45, 0.2777925, 0.1318020, 0.0342542]
    second = [0.4, 0.3414214, 0.2, 0.0585786]
    got = [lr_at(stages, step, steps_per_epoch=2, default=0.9) for step in range(16)]
    assert got == pytest.approx([*first, *second, 0.0, 0.0], abs=1e-7)


@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "warmup"),
    [(10, 7, 7), (5, 7, 7), (4, 7, 5), (2, 7, 2), (1, 9, 1), (1, 10, 2), (1, 4, 0), (1, 1, 0), (6, 1, 1)],
)
def test_the_warm_up_is_an_epoch_but_at_most_a_fifth_of_the_stage(
    epochs: int, steps_per_epoch: int, warmup: int
) -> None:
    stages = Stages.parse([{"epochs": epochs}])
    factors = [lr_factor(stages, step, steps_per_epoch) for step in range(epochs * steps_per_epoch)]
    assert factors[:warmup] == pytest.approx([(k + 1) / (warmup + 1) for k in range(warmup)])
    assert factors[warmup] == 1.0
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors)


def test_a_rows_learning_rate_and_magnitude_depend_on_that_row_alone() -> None:
    others: list[dict[str, Any]] = [
        {"epochs": 4, "magnitude": 30, "auxiliary": 5, "lr": 7.0},
        {"epochs": 4, "sparsity": 0.1, "magnitude": [0, 30], "auxiliary": 1, "lr": 0.01},
        {"epochs": 4},
    ]
    row = {"epochs": 3, "sparsity": 0.2, "magnitude": [9, 4], "lr": 0.3}
    seen = set()
    for before in others:
        for after in others:
            stages = Stages.parse([before, row, after | {"sparsity": 0.5, "auxiliary": 0}])
            rates = tuple(lr_at(stages, step, 5, default=0.1) for step in range(4 * 5, 7 * 5))
            seen.add((rates, tuple(stages.value("magnitude", epoch) for epoch in range(4, 7))))
    alone = Stages.parse([row])
    assert seen == {
        (
            tuple(lr_at(alone, step, 5, default=0.1) for step in range(15)),
            tuple(alone.value("magnitude", e) for e in range(3)),
        )
    }


def test_the_network_changes_with_sparsity_and_blocks_only() -> None:
    rows = [
        {"epochs": 2, "auxiliary": 1, "magnitude": 14},
        {"epochs": 1, "auxiliary": 1, "magnitude": 8},
        {"epochs": 2},
        {"epochs": 2, "sparsity": 0.5},
        {"epochs": 1, "sparsity": 0.5, "lr": 0.01},
    ]
    assert [epoch for epoch in range(9) if Stages.parse(rows).changes_network_at(epoch)] == [3, 5]
    assert [epoch for epoch in range(4) if Stages.parse(rows[3:]).changes_network_at(epoch)] == [0]


def test_a_row_without_a_learning_rate_takes_the_optimizers() -> None:
    stages = Stages.parse([{"epochs": 1, "lr": 0.5}, {"epochs": 1}])
    assert [lr_at(stages, step, 1, default=0.2) for step in (0, 1)] == [0.5, 0.2]


def test_every_epoch_knows_its_stage_and_whether_it_is_the_first_or_the_last_of_it() -> None:
    stages = Stages.parse(TABLE)
    stage_of = [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3]
    assert (stages.total_epochs, len(stages), stages.starts) == (11, 4, (0, 3, 4, 9))
    assert [stages.stage_at(epoch) for epoch in range(13)] == [*stage_of, 3, 3]
    assert [epoch for epoch in range(13) if stages.starts_at(epoch)] == [0, 3, 4, 9]
    assert [epoch for epoch in range(13) if stages.ends_at(epoch)] == [2, 3, 8, 10]
    assert [row.epochs for row in stages] == [3, 1, 5, 2]


@pytest.mark.parametrize(
    ("epochs", "scale", "expected"),
    [
        (12, 0.5, 6),
        (7, 0.5, 4),
        (10, 0.25, 3),
        (9, 0.25, 2),
        (5, 1.1, 6),
        (3, 2, 6),
        (1, 0.1, 1),
        (4, 0.01, 1),
        (8, 1.0, 8),
    ],
)
def test_epochs_are_scaled_half_up_and_to_at_least_one(epochs: int, scale: float, expected: int) -> None:
    scaled = Stages.parse([{"epochs": epochs, "magnitude": [3, 9]}, {"epochs": 1, "sparsity": 0.3}]).scaled(scale)
    assert scaled[0] == Stage(epochs=expected, magnitude=(3, 9))
    assert scaled[1].sparsity == 0.3


@pytest.mark.parametrize("scale", [0, -1.0, True, math.inf, math.nan, "2", None])
def test_a_scale_that_is_no_number_over_zero_is_refused(scale: Any) -> None:
    with pytest.raises(UserError, match=re.escape(f"epochs_scale is {scale}: write a number over 0")):
        Stages.parse(TABLE).scaled(scale)


def test_a_dumped_table_is_plain_data_that_parses_to_the_same_table() -> None:
    stages = Stages.parse(TABLE)
    dumped = stages.dump()
    assert dumped == TABLE
    again = Stages.parse(json.loads(json.dumps(dumped)))
    assert again == stages
    assert hash(again) == hash(stages)
    assert Stages.parse(TABLE[:3]) != stages
    assert eval(repr(stages).replace("Stages", "Stages.parse")) == stages


def test_parsing_a_table_leaves_the_rows_as_they_were_and_a_parsed_table_as_it_is() -> None:
    rows = json.loads(json.dumps(TABLE))
    stages = Stages.parse(rows)
    assert rows == TABLE
    assert Stages.parse(stages) is stages


MAGNITUDES = "write 0..30, random, [a, b] or none"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"epochs": 0}, "epochs is 0: write a whole number, at least 1"),
        ({"epochs": -3}, "epochs is -3: write a whole number, at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5: write a whole number, at least 1"),
        ({"epochs": True}, "epochs is True: write a whole number, at least 1"),
        ({"epochs": "10"}, "epochs is 10: write a whole number, at least 1"),
        ({}, "epochs is missing: write how many epochs the stage is long"),
        ({"sparsity": 0.2}, "epochs is missing: write how many epochs the stage is long"),
        ({"epochs": 1, "sparsity": 1.0}, "sparsity is 1.0: write a number from 0 to below 1"),
        ({"epochs": 1, "sparsity": -0.1}, "sparsity is -0.1: write a number from 0 to below 1"),
        ({"epochs": 1, "sparsity": math.nan}, "sparsity is nan: write a number from 0 to below 1"),
        ({"epochs": 1, "sparsity": False}, "sparsity is False: write a number from 0 to below 1"),
        ({"epochs": 1, "sparsity": "0.5"}, "sparsity is 0.5: write a number from 0 to below 1"),
        ({"epochs": 1, "magnitude": 31}, f"magnitude is 31: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": -1}, f"magnitude is -1: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": 14.5}, f"magnitude is 14.5: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": True}, f"magnitude is True: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": "weird"}, f"magnitude is weird: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": {"a": 1}}, f"magnitude is {{'a': 1}}: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": [3, 31]}, f"magnitude is [3, 31]: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": [-1, 3]}, f"magnitude is [-1, 3]: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": [3]}, f"magnitude is [3]: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": [3, 4, 5]}, f"magnitude is [3, 4, 5]: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": []}, f"magnitude is []: {MAGNITUDES}"),
        ({"epochs": 1, "magnitude": [3, "none"]}, f"magnitude is [3, 'none']: {MAGNITUDES}"),
        ({"epochs": 1, "auxiliary": -1}, "auxiliary is -1: write a whole number, at least 0"),
        ({"epochs": 1, "auxiliary": 2.0}, "auxiliary is 2.0: write a whole number, at least 0"),
        ({"epochs": 1, "lr": 0}, "lr is 0: write a number over 0"),
        ({"epochs": 1, "lr": -0.1}, "lr is -0.1: write a number over 0"),
        ({"epochs": 1, "lr": math.inf}, "lr is inf: write a number over 0"),
        ({"epochs": 1, "lr": "fast"}, "lr is fast: write a number over 0"),
        ({"epochs": 1, "sparcity": 0.2}, "unknown column 'sparcity': did you mean sparsity?"),
        ({"epoch": 1}, "unknown column 'epoch': did you mean epochs?"),
        (
            {"epochs": 1, 7: 2},
            "unknown column '7': known are auxiliary, channels, epochs, lr, magnitude, sparsity",
        ),
        ({"epochs": None}, "epochs is empty: write a whole number, at least 1"),
        (
            {"epochs": 1, "sparsity": None},
            "sparsity is empty: write a number from 0 to below 1, or leave it out for 0",
        ),
        ({"epochs": 1, "magnitude": None}, f"magnitude is empty: {MAGNITUDES}"),
        (
            {"epochs": 1, "auxiliary": None},
            "auxiliary is empty: write a whole number, at least 0, or leave it out for 0",
        ),
        ({"epochs": 1, "lr": None}, "lr is empty: write a number over 0, or leave it out for the optimizer's"),
        (10, "a row is written {epochs: 10, sparsity: 0.2, magnitude: 12}, not 10"),
        (None, "a row is written {epochs: 10, sparsity: 0.2, magnitude: 12}, not None"),
        (["epochs", 1], "a row is written {epochs: 10, sparsity: 0.2, magnitude: 12}, not ['epochs', 1]"),
    ],
)
@pytest.mark.parametrize("number", [1, 3])
def test_a_wrong_row_is_refused_in_one_sentence_that_names_the_stage(row: Any, sentence: str, number: int) -> None:
    assert (
        user_error(Stages.parse, [*[{"epochs": 2}] * (number - 1), row, {"epochs": 2}]) == f"stage {number}: {sentence}"
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [{"epochs": 1}, {"epochs": 1, "sparsity": 0.4}, {"epochs": 1, "sparsity": 0.2}],
            "stage 3: sparsity 0.2 is below the 0.4 of the stage before it: pruned weights do not come back",
        ),
        (
            [{"epochs": 1, "sparsity": 0.4}, {"epochs": 1}],
            "stage 2: sparsity 0.0 is below the 0.4 of the stage before it: pruned weights do not come back",
        ),
        (
            [{"epochs": 1, "auxiliary": 1}, {"epochs": 1, "auxiliary": 2}],
            "stage 2: auxiliary 2 is over the 1 of the stage before it: blocks are dropped, never added",
        ),
        ([], "the table of stages is empty: write at least one row, such as {epochs: 10}"),
        (None, "stages is missing: give a table, as configs/prune_decay.yaml has one"),
        ({"epochs": 1}, "stages is written as a list of rows, such as [{epochs: 10}], not {'epochs': 1}"),
        ("[]", "stages is written as a list of rows, such as [{epochs: 10}], not '[]'"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(rows: Any, sentence: str) -> None:
    assert user_error(Stages.parse, rows) == sentence


def test_beyond_its_ends_a_line_keeps_its_ends() -> None:
    stages = Stages.parse([{"epochs": 3, "magnitude": [0, 30]}])
    assert [stages.value("magnitude", epoch) for epoch in (-1, 0, 1, 2, 3, 9)] == [0, 0, 15, 30, 30, 30]
