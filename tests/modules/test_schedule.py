import math
from typing import Any

import pytest
import torch
from torch import nn

from dasc.modules import StageLR
from dasc.stages import Stages

TABLE: list[dict[str, Any]] = [{"epochs": 2}, {"epochs": 1, "lr": 0.02}]
LONGER: list[dict[str, Any]] = [{"epochs": 2}, {"epochs": 1, "lr": 0.02}, {"epochs": 4, "lr": 0.3}]
STEPS = 5


def make(table: list[dict[str, Any]]) -> StageLR:
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(torch.zeros(1))]},
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5},
    ]
    return StageLR(torch.optim.SGD(groups, lr=0.1), Stages.parse(table))


def rates(schedule: StageLR) -> list[float]:
    return [float(group["lr"]) for group in schedule.optimizer.param_groups]


def walk(schedule: StageLR, steps: int) -> list[list[float]]:
    """The rates of the next steps within an epoch."""
    seen = []
    for _ in range(steps):
        seen.append(rates(schedule))
        schedule.optimizer.step()
        schedule.step()
    return seen


def train(schedule: StageLR, epochs: range) -> list[list[float]]:
    seen = []
    for epoch in epochs:
        schedule.start_epoch(epoch, STEPS)
        seen += walk(schedule, STEPS)
    return seen


def cosine(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def test_each_group_warms_up_and_decays_from_its_own_peak_in_every_stage() -> None:
    seen = train(make(TABLE), range(3))
    share = [cosine(step, 2, 10) for step in range(10)]
    second = [cosine(step, 1, 5) for step in range(5)]
    assert [lr for lr, _ in seen] == pytest.approx([0.1 * s for s in share] + [0.02 * s for s in second])
    assert [lr for _, lr in seen] == pytest.approx([0.5 * s for s in share] + [0.02 * s for s in second])


def test_the_learning_rate_is_zero_after_the_last_stage() -> None:
    assert train(make(TABLE), range(3, 4)) == [[0.0, 0.0]] * STEPS


def test_an_epoch_that_was_cut_short_has_the_same_rates_when_it_is_repeated() -> None:
    schedule, uninterrupted = make(TABLE), train(make(TABLE), range(3))
    schedule.start_epoch(0, STEPS)
    cut = walk(schedule, 3)
    assert cut == uninterrupted[:3]
    assert train(schedule, range(3)) == uninterrupted


def test_the_state_is_the_position_as_plain_numbers() -> None:
    schedule = make(TABLE)
    schedule.start_epoch(1, STEPS)
    walk(schedule, 2)
    assert schedule.state_dict() == {"epoch": 1, "step": 2, "steps_per_epoch": 5}


@pytest.mark.parametrize("steps", [0, 3, 5, 10, 12])
def test_a_resumed_schedule_continues_as_the_uninterrupted_one(steps: int) -> None:
    expected, before, after = train(make(TABLE), range(3)), make(TABLE), make(TABLE)
    epoch, done = divmod(steps, STEPS)
    train(before, range(epoch))
    if done:
        before.start_epoch(epoch, STEPS)
        walk(before, done)
    after.load_state_dict(before.state_dict())
    rest = walk(after, STEPS - done) if done else []
    assert rest + train(after, range(epoch + bool(done), 3)) == expected[steps:]


def test_a_state_loaded_under_a_longer_table_has_the_new_tables_learning_rate_at_once() -> None:
    finished = make(TABLE)
    train(finished, range(3))
    assert rates(finished) == [0.0, 0.0]
    longer = make(LONGER)
    longer.load_state_dict(finished.state_dict())
    first = 0.3 * cosine(0, 4, 20)
    assert rates(longer) == pytest.approx([first, first])
    assert longer.get_last_lr() == pytest.approx([first, first])
    assert [lr for lr, _ in train(longer, range(3, 7))] == pytest.approx([0.3 * cosine(k, 4, 20) for k in range(20)])
