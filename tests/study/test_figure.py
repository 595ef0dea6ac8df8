import pytest

from dasc.errors import UserError
from dasc.study.figure_spec import FigureSpec

AXES = {"schedule": ["none", "decayed"], "network": ["a", "b"], "one": ["x"]}
TABLES = [[{"magnitude": "14", "sparsity": 0.0}, {"magnitude": "4", "sparsity": 0.5}]]


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "sparsity", "lines": "schedule", "panels": "network"},
        {"kind": "bars", "bars": "schedule", "groups": "network"},
        {"kind": "magnitude", "panels": "network"},
    ],
)
def test_an_axis_of_one_label_need_not_be_shown(given: dict[str, str]) -> None:
    FigureSpec.parse(given).check(AXES, TABLES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "sparsity", "lines": "shedule"}, "figure.lines: unknown axis 'shedule': did you mean schedule"),
        ({"kind": "sparsity", "lines": "schedule"}, r"does not show the axis network: .*\(panels\)"),
        ({"kind": "bars", "bars": "schedule", "groups": "schedule"}, "shows an axis once"),
    ],
)
def test_axes_that_cannot_feed_a_figure_are_named(given: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        FigureSpec.parse(given).check(AXES, TABLES)


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("magnitude", {"magnitude": "4", "sparsity": 0.5}, "at least two magnitudes, the study has 1"),
        ("sparsity", {"magnitude": "4", "sparsity": 0.5}, "at least two sparsities, the study has 1"),
    ],
)
def test_a_line_needs_two_points(kind: str, row: dict[str, object], said: str) -> None:
    spec = FigureSpec(kind, lines="schedule" if kind == "sparsity" else None, panels="network")
    with pytest.raises(UserError, match=said):
        spec.check(AXES, [[row]])
