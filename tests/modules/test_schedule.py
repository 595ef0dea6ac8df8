import math
from typing import Any

import pytest
import torch
from torch import nn

from dasc.modules import StageLR
from dasc.stages import Stages

TABLE: list[dict[str, Any]] = [{"epochs": 2}, {"epochs": 1, "lr": 0.02}]
LONGER: list[dict[str, Any]] = [{"epochs": 2}, {"epochs": 1, "lr": 0.02}, {"epochs": 4, "lr": 0.3}]


def make(table: list[dict[str, Any]], steps_per_epoch: int = 5) -> StageLR:
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(torch.zeros(1))]},
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    return StageLR(optimizer, Stages.parse(table), steps_per_epoch)


def walk(schedule: StageLR, steps: int) -> list[list[float]]:
    seen = []
    for _ in range(steps):
        seen.append([float(group["lr"]) for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return seen


def cosine(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def test_each_group_warms_up_and_falls_from_its_own_peak_in_every_stage() -> None:
    seen = walk(make(TABLE), 15)
    share = [cosine(step, 2, 10) for step in range(10)]
    second = [cosine(step, 1, 5) for step in range(5)]
    assert [lr for lr, _ in seen] == pytest.approx([0.1 * s for s in share] + [0.02 * s for s in second])
    assert [lr for _, lr in seen] == pytest.approx([0.5 * s for s in share] + [0.02 * s for s in second])


def test_the_learning_rate_is_zero_after_the_last_stage() -> None:
    assert walk(make(TABLE), 17)[15:] == [[0.0, 0.0], [0.0, 0.0]]


def test_the_state_is_two_numbers_and_no_object() -> None:
    schedule = make(TABLE)
    walk(schedule, 7)
    assert schedule.state_dict() == {"last_epoch": 7, "_step_count": 8}
    assert {type(value) for value in schedule.state_dict().values()} == {int}


@pytest.mark.parametrize("steps", [0, 3, 10, 12])
def test_a_loaded_state_goes_on_as_the_unbroken_schedule_does(steps: int) -> None:
    unbroken, before, after = make(TABLE), make(TABLE), make(TABLE)
    expected = walk(unbroken, 15)
    walk(before, steps)
    after.load_state_dict(before.state_dict())
    assert walk(after, 15 - steps) == expected[steps:]


def test_a_state_loaded_under_a_longer_table_has_the_new_tables_learning_rate_at_once() -> None:
    finished = make(TABLE)
    walk(finished, 15)
    assert [group["lr"] for group in finished.optimizer.param_groups] == [0.0, 0.0]
    longer = make(LONGER)
    longer.load_state_dict(finished.state_dict())
    first = 0.3 * cosine(0, 4, 20)
    assert [group["lr"] for group in longer.optimizer.param_groups] == pytest.approx([first, first])
    assert longer.get_last_lr() == pytest.approx([first, first])
    assert [lr for lr, _ in walk(longer, 20)] == pytest.approx([0.3 * cosine(step, 4, 20) for step in range(20)])
