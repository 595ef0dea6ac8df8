import pytest

from dasc.errors import UserError
from dasc.stages import Stage
from dasc.study.analysis.figures import parse_figure
from dasc.study.plan import Run

AXES = {"schedule": ["none", "decayed"], "network": ["a", "b"], "one": ["x"]}
RUNS = [Run("a", "a", stages=(Stage(epochs=1, magnitude=14), Stage(epochs=1, sparsity=0.5, magnitude=4)))]


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "sparsity", "lines": "schedule", "panels": "network"},
        {"kind": "bars", "bars": "schedule", "groups": "network"},
        {"kind": "magnitude", "panels": "network"},
        {"kind": "macs", "lines": "schedule", "sizes": "network"},
    ],
)
def test_an_axis_of_one_label_need_not_be_shown(given: dict[str, str]) -> None:
    parse_figure(given, AXES).check(AXES, RUNS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "sparsity", "lines": "shedule"}, "figure.lines: unknown axis 'shedule': did you mean schedule"),
        ({"kind": "sparsity", "lines": "schedule"}, r"does not show the axis network: .*\(panels\)"),
        ({"kind": "macs", "lines": "schedule"}, r"does not show the axis network: .*\(panels, sizes\)"),
        ({"kind": "sparsity", "lines": "schedule", "sizes": "network"}, "a figure of kind sparsity has no sizes"),
        ({"kind": "bars", "bars": "schedule", "groups": "schedule"}, "shows an axis once"),
    ],
)
def test_axes_that_cannot_feed_a_figure_are_named(given: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_figure(given, AXES).check(AXES, RUNS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "magnitude"}, "at least two magnitudes, the study has 1"),
        ({"kind": "sparsity", "lines": "schedule"}, "at least two sparsities, the study has 1"),
    ],
)
def test_a_line_needs_two_points(given: dict[str, str], said: str) -> None:
    figure = parse_figure(given | {"panels": "network"}, AXES)
    with pytest.raises(UserError, match=said):
        figure.check(AXES, [Run("a", "a", stages=(Stage(epochs=1, sparsity=0.5, magnitude=4),))])


def test_a_magnitude_figure_is_of_one_network_in_each_panel() -> None:
    runs = [
        Run(f"{label}{m}", "", seed=0, base=label, labels={"network": label, "m": m}, stages=RUNS[0].stages)
        for label in "ab"
        for m in ("4", "14")
    ]
    axes = {"m": ["4", "14"], "network": ["a", "b"]}
    parse_figure({"kind": "magnitude", "panels": "network"}, axes).check(axes, runs)
    parse_figure({"kind": "magnitude"}, axes).check(axes, runs[:2])
    with pytest.raises(UserError, match="does not show the axis network, which changes more than the table"):
        parse_figure({"kind": "magnitude"}, axes).check(axes, runs)
