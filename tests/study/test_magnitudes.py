from typing import Any

import pytest

from dasc.errors import UserError
from dasc.study.analysis.magnitudes import Suited, select, suited
from tests.support.results import results


def row(magnitude: str, sparsity: float, accuracy: float, **more: Any) -> dict[str, Any]:
    run = f"{magnitude}-{sparsity}-{more.get('seed', 0)}-{more.get('axis_network', '')}"
    return {
        **{"part": "study", "run": run, "seed": 0, "stage": 1, "final": 1, "magnitude": magnitude},
        **{"sparsity_asked": sparsity, "val_accuracy_last": accuracy, "val_accuracy_best": accuracy},
        **{"test_accuracy": accuracy, "test_nll": 1 - accuracy, "test_ece": 0.0},
        **more,
    }


ROWS = [
    *(row(m, 0.0, a) for m, a in (("none", 0.7), ("4", 0.72), ("9", 0.75), ("14", 0.7))),
    *(row(m, 0.5, a) for m, a in (("none", 0.6), ("4", 0.58), ("9", 0.55))),
]
LOSSES = {(r["run"], 1): loss for r, loss in zip(ROWS, (9, 0.9, 0.8, 1.1, 9, 1.2, 1.2), strict=True)}


def test_the_three_answers_stand_side_by_side() -> None:
    assert suited(results(ROWS, {}), LOSSES) == [Suited(0.0, 9, "9", 14), Suited(0.5, 4, "none", None)]


def test_means_over_the_seeds_decide() -> None:
    second = [{**r, "seed": 1, "run": r["run"] + "b", "val_accuracy_last": 1.6 - r["val_accuracy_last"]} for r in ROWS]
    third = [{**r, "seed": 2, "run": r["run"] + "c"} for r in second]
    losses = {
        (r["run"], 1): LOSSES[r["run"].rstrip("bc"), 1] * (-1 if r["seed"] else 1) for r in [*ROWS, *second, *third]
    }
    assert suited(results([*ROWS, *second, *third], {}), losses)[0] == Suited(0.0, 14, "none", 14)


def test_a_stage_that_runs_share_weighs_once_in_the_mean_loss() -> None:
    rows = [row("4", 0.0, 0.7), row("4", 0.0, 0.7, run="b"), row("4", 0.0, 0.7, seed=1, run="c")]
    rows += [row("9", 0.0, 0.7), row("9", 0.0, 0.7, seed=1, run="d")]
    losses = dict(zip([(r["run"], 1) for r in rows], (0.1, 0.1, 0.7, 0.35, 0.35), strict=True))
    assert suited(results(rows, {}), losses)[0].eq3 == 9  # 0.35 below 0.4; over rows, M = 4 would have 0.3


@pytest.mark.parametrize(("by", "value"), [("optimal", "none"), ("eq3", 4)])
def test_a_choice_is_a_magnitude_of_the_table(by: str, value: int | str) -> None:
    assert Suited(0.5, 4, "none", None).chosen(by) == value


def test_a_choice_that_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match=r"sparsity 0\.5 has no maximal magnitude"):
        Suited(0.5, 4, "none", None).chosen("maximal")


def test_one_of_several_networks_is_chosen() -> None:
    rows = [{**r, "axis_network": n, "test_nll": r["test_nll"] + k} for k, n in enumerate("ab") for r in ROWS]
    axes = {"network": ["a", "b"]}
    assert len(select(results(rows, axes), axes, {"network": "b"})) == len(ROWS)
    with pytest.raises(UserError, match="choose one by --select 'network=a'"):
        select(results(rows, axes), axes, {})
    with pytest.raises(UserError, match="--select network=c is no label"):
        select(results(rows, axes), axes, {"network": "c"})
