import pytest

from dasc.study.execution.times import span
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
