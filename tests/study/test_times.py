from pathlib import Path

import pytest

from dasc.stages import Stage
from dasc.study.folders import RESULT, run_folder, write_json
from dasc.study.plan import Run
from dasc.study.terminal import seconds_of_runs, span
from tests.study.test_schedule import JOBS

SECONDS = {"a": 3.0, "b": 2.0, "c": 4.0, "d": 1.0, "e": 5.0}


@pytest.mark.parametrize(
    ("slots", "end"),
    [
        (1, 15.0),  # the sum
        (5, 9.0),  # a, b, c wait for each other
        (2, 11.0),  # b, c and e after a on the one, d on the other: drawn by hand
    ],
)
def test_processes_end_when_the_last_of_them_does(slots: int, end: float) -> None:
    assert span(JOBS, SECONDS, slots) == end


def test_nothing_takes_no_time() -> None:
    assert span([], {}, 2) == 0.0


def training(name: str, depth: int, epochs: int) -> Run:
    config = {"model": {"depth": depth}, "data": {}, "trainer": {}, "stages": [{"epochs": epochs}]}
    return Run(name, name, config=config, stages=(Stage(epochs=epochs),))


def test_unfinished_runs_take_what_finished_ones_like_them_took(tmp_path: Path) -> None:
    finished = {"fast": 2.0, "slow": 80.0}  # the second one beside another job
    for name, seconds in finished.items():
        timing = {"seconds": seconds, "epochs": 4}
        write_json(run_folder(tmp_path, name) / RESULT, {"rows": [], "timing": timing})
    runs = [training("fast", 20, 4), training("left", 20, 10), training("slow", 20, 4)]
    assert seconds_of_runs(runs, tmp_path) == {"left": (5.0, 200.0)}
    assert seconds_of_runs([*runs, training("deeper", 110, 10)], tmp_path) is None
    assert seconds_of_runs(runs[1:2], tmp_path) is None
