"""What stands in a figure: read back from its artists and from the files."""

import importlib.util
import itertools
import math
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes as Panel
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from dasc.errors import UserError
from dasc.study.analysis.figures import StudyFigure, drawing
from dasc.study.analysis.figures.bars import BarsFigure
from dasc.study.analysis.figures.drawing import style
from dasc.study.analysis.figures.macs import MacsFigure
from dasc.study.analysis.figures.magnitude import MagnitudeFigure
from dasc.study.analysis.figures.sparsity import SparsityFigure
from tests.support.results import results

Rows = list[dict[str, Any]]


def compose(figure: StudyFigure, rows: Rows, axes: dict[str, list[str]]) -> tuple[Figure, str]:
    return figure.compose(results(rows, axes))


@pytest.fixture
def styled() -> Iterator[None]:
    with style():
        yield


def row(
    accuracy: float | None, seed: int = 0, sparsity: float = 0.0, magnitude: str = "4", **axes: str
) -> dict[str, Any]:
    labels = {f"axis_{axis}": label for axis, label in axes.items()}
    run = f"{seed}{magnitude}{sorted(axes.items())}"
    known = {"part": "study", "run": run, "seed": seed, "stage": 1, "final": 1, "test_nll": accuracy}
    return known | {"sparsity_asked": sparsity, "magnitude": magnitude, "test_accuracy": accuracy} | labels


def magnitudes(*values: float, sparsity: float = 0.0, seeds: int = 1) -> Rows:
    """None, 0, 5, 10 and so on; the seeds lie 0.01 apart around the value."""
    names = ["none", *(str(5 * i) for i in range(len(values) - 1))]
    offsets = [0.01 * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    return [
        row(value + offset, seed, sparsity, name, M=name)
        for name, value in zip(names, values, strict=True)
        for seed, offset in enumerate(offsets)
    ]


def bars(bars: list[str], groups: list[str], step: float = 0.01, seeds: int = 1) -> Rows:
    return [
        row(0.6 + step * (i + 2 * j) + 0.001 * seed, seed, scheme=bar, net=group)
        for (i, bar), (j, group), seed in itertools.product(enumerate(bars), enumerate(groups), range(seeds))
    ]


def lines(panel: Panel, marker: str) -> list[list[tuple[float, float]]]:
    """The points of the panel's lines of a marker."""
    found = [np.asarray(line.get_xydata()) for line in panel.lines if line.get_marker() == marker]
    return [[(float(x), float(y)) for x, y in line] for line in found]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


@pytest.mark.usefixtures("styled")
def test_magnitudes_are_a_line_with_none_apart_and_two_marks() -> None:
    rows = [*magnitudes(0.60, 0.50, 0.70, 0.65, 0.40), *magnitudes(0.30, 0.35, 0.20, 0.10, 0.05, sparsity=0.4)]
    figure, _ = compose(MagnitudeFigure(), rows, {})
    (panel,) = figure.axes
    dense, dense_none = lines(panel, "o")
    assert dense == [(0, 50.0), (5, 70.0), (10, 65.0), (15, 40.0)]
    ((x, y),) = dense_none
    assert (x < 0, y) == (True, 60.0)
    assert panel.get_xticks()[0] == pytest.approx(x, abs=0.5)
    assert panel.get_xticklabels()[0].get_text() == "none"
    assert sorted(point for line in lines(panel, "*") for point in line) == [(0, 35.0), (5, 70.0)]
    assert sorted(point for line in lines(panel, "v") for point in line) == [(0, 35.0), (10, 65.0)]
    levels = [points[0][1] for points in lines(panel, "None") if len(points) == 2 and points[0][0] == 0]
    assert sorted(levels) == pytest.approx([30.0, 60.0])
    assert {"sparsity 0 %", "sparsity 40 %", "optimal M", "maximal M", "one seed"} <= set(texts(figure))


@pytest.mark.usefixtures("styled")
def test_without_none_there_is_no_maximal_magnitude() -> None:
    rows = [given for given in magnitudes(0.6, 0.5, 0.7) if given["magnitude"] != "none"]
    figure, _ = compose(MagnitudeFigure(), rows, {})
    assert lines(figure.axes[0], "v") == []
    assert "none" not in [label.get_text() for label in figure.axes[0].get_xticklabels()]


@pytest.mark.usefixtures("styled")
def test_a_line_may_have_none_or_numbers_only() -> None:
    rows = [
        *(given for given in magnitudes(0.6, 0.5, 0.7) if given["magnitude"] == "none"),
        *(given for given in magnitudes(0.6, 0.5, 0.7, sparsity=0.4) if given["magnitude"] != "none"),
        row(0.55, sparsity=0.4, magnitude="random"),
    ]
    figure, _ = compose(MagnitudeFigure(), rows, {})
    (panel,) = figure.axes
    assert [[y for _, y in line] for line in lines(panel, "o")] == [[60.0]]
    assert [[round(y) for _, y in line] for line in lines(panel, "s")] == [[50, 70], [55]]
    assert [label.get_text() for label in panel.get_xticklabels()][:2] == ["random", "none"]


@pytest.mark.usefixtures("styled")
def test_networks_with_fewer_channels_are_a_line_over_millions_of_macs() -> None:
    rows = [
        row(accuracy, s=label)
        | {"stage": stage, "run": label, "channels": channels, "macs": macs}
        | {"parameters": macs // 10, "nonzero_parameters": macs // 20}
        for label, accuracies in (("x", (0.9, 0.8)), ("y", (0.85, 0.75)))
        for stage, (accuracy, channels, macs) in enumerate(
            zip(accuracies, (0.0, 0.5), (40_000_000, 10_000_000), strict=True)
        )
    ]
    shown, axes = MacsFigure(lines="s"), {"s": ["x", "y"]}
    figure, said = compose(shown, rows, axes)
    (panel,) = figure.axes
    assert lines(panel, "o") == [[(10, 80.0), (40, 90.0)]]
    assert lines(panel, "s") == [[(10, 75.0), (40, 85.0)]]
    assert {"x", "y", "s (one seed)"} <= set(texts(figure))
    assert said == "Test accuracy (%) over MACs, by s. One seed."
    *accuracies, sizes = shown.tables(results(rows, axes), axes, {"s": "x"})
    assert [list(line) for line in accuracies[0].rows] == [["x", "90.00", "80.00"], ["y", "85.00", "75.00"]]
    assert list(sizes.rows[1]) == ["x", "50 %", "10.00", "1,000,000", "500,000"]


@pytest.mark.usefixtures("styled")
def test_bars_of_zero_have_an_axis() -> None:
    figure, _ = compose(BarsFigure(bars="s"), [row(0.0, s="a")], {"s": ["a"]})
    assert figure.axes[0].get_ylim() == (0.0, 1.0)


@pytest.mark.usefixtures("styled")
def test_error_bars_are_the_standard_deviation_over_seeds() -> None:
    figure, said = compose(MagnitudeFigure(), magnitudes(0.6, 0.5, 0.7, seeds=3)[:-1], {})
    (numbers, *_) = figure.axes[0].containers
    (segments,) = (part.get_segments() for part in numbers[2])
    assert [segment[1][1] - segment[0][1] for segment in segments] == pytest.approx([2.0, math.sqrt(2)])
    assert "mean, error bars: standard deviation over 2 to 3 seeds" in texts(figure)
    assert said.endswith("Mean, error bars: standard deviation over 2 to 3 seeds.")


@pytest.mark.usefixtures("styled")
def test_each_line_has_a_look_of_its_own() -> None:
    names = [f"_s{i}$" for i in range(20)]
    rows = [row(0.1 + 0.01 * i, sparsity=s, schedule=name) for i, name in enumerate(names) for s in (0.0, 0.6)]
    figure, _ = compose(SparsityFigure(lines="schedule"), rows, {"schedule": names})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    drawn = [container[0] for container in figure.axes[0].containers]
    looks = {(to_hex(line.get_color()), line.get_marker(), str(line._dash_pattern)) for line in drawn}
    assert len(drawn) == len(looks) == 20
    assert len({(marker, dash) for _, marker, dash in looks}) == 20  # in grey, too
    assert list(drawn[3].get_xydata()[1]) == pytest.approx([60, 13.0])


@pytest.mark.usefixtures("styled")
def test_bars_stand_in_groups_with_their_values_on_them() -> None:
    axes = {"scheme": ["a", "b", "c"], "net": ["small", "large"]}
    rows = bars(axes["scheme"], axes["net"], step=0.1)
    figure, _ = compose(BarsFigure(bars="scheme", groups="net"), rows, axes)
    (panel,) = figure.axes
    boxes = sorted((p for p in panel.patches if isinstance(p, Rectangle)), key=lambda box: box.get_x())
    assert [box.get_height() for box in boxes] == pytest.approx([60, 70, 80, 80, 90, 100])
    assert [round(box.get_x() + box.get_width() / 2) for box in boxes] == [0, 0, 0, 1, 1, 1]
    assert len({box.get_hatch() for box in boxes}) == 3
    assert [text.get_text() for text in panel.texts] == ["60.00", "80.00", "70.00", "90.00", "80.00", "100.00"]
    assert panel.get_ylim()[0] == 0
    assert [label.get_text() for label in panel.get_xticklabels()] == ["small", "large"]


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize(("step", "start"), [(0.1, 0.0), (0.015, 59.0), (0.0015, 59.9), (0.0, 0.0)])
def test_the_axis_of_bars_starts_above_zero_only_where_they_would_look_alike(step: float, start: float) -> None:
    rows = bars(["a", "b", "c"], ["x"], step)
    figure, _ = compose(BarsFigure(bars="scheme"), rows, {"scheme": ["a", "b", "c"]})
    (panel,) = figure.axes
    assert panel.get_ylim()[0] == pytest.approx(start)
    assert panel.get_ylabel() == "Test accuracy (%)" + (f"\n(axis starts at {start:g})" if start else "")
    assert min(box.get_height() for box in panel.patches if isinstance(box, Rectangle)) > start


@pytest.mark.usefixtures("styled")
def test_panels_of_lines_share_the_y_axis() -> None:
    rows = [row(0.3 * i + s, sparsity=s, schedule="x", data=str(i)) for i in (1, 2) for s in (0.0, 0.2)]
    axes = {"schedule": ["x"], "data": ["1", "2"]}
    figure, _ = compose(SparsityFigure(lines="schedule", panels="data"), rows, axes)
    (one, two) = (panel.get_ylim() for panel in figure.axes)
    assert one == two
    assert one[0] < 30 < 80 < one[1]
    heights = [[round(y) for _, y in lines(panel, "o")[0]] for panel in figure.axes]
    assert heights == [[30, 50], [60, 80]]


@pytest.mark.usefixtures("styled")
def test_each_panel_of_magnitudes_shows_its_label() -> None:
    rows = [given | {"axis_net": net, "run": net + given["run"]} for net in "ba" for given in magnitudes(0.2, 0.3, 0.4)]
    rows = [given | {"test_accuracy": given["test_accuracy"] + 0.5 * (given["axis_net"] == "a")} for given in rows]
    figure, _ = compose(MagnitudeFigure(panels="net"), rows, {"net": ["b", "a"]})
    assert [panel.get_title() for panel in figure.axes] == ["net: b", "net: a"]
    assert [lines(panel, "*") for panel in figure.axes] == [[[(5, 40.0)]], [[(5, 90.0)]]]


@pytest.mark.usefixtures("styled")
def test_panels_show_their_title_and_leave_failed_runs_out() -> None:
    axes = {"scheme": ["a", "b"], "data": ["cifar10", "digits", "pets"]}
    rows = [
        row(0.3 + 0.2 * i + 0.1 * j if (i, j) != (1, 1) else None, scheme=scheme, data=data)
        for (i, data), (j, scheme) in itertools.product(enumerate(axes["data"]), enumerate(axes["scheme"]))
    ]
    spec = BarsFigure(bars="scheme", panels="data", title="Title $x")
    figure, _ = compose(spec, rows, axes)
    assert [panel.get_title() for panel in figure.axes] == ["data: cifar10", "data: digits", "data: pets"]
    assert [len(panel.patches) for panel in figure.axes] == [2, 1, 2]
    assert "Title $x" in texts(figure)


LONG = "a label of many words with $, _, & and <tags>"
CASES = {
    "thirty magnitudes": (MagnitudeFigure(), magnitudes(*(0.5 + 0.01 * i for i in range(7)), seeds=2), {}),
    "long lines": (
        SparsityFigure(lines="s", panels="d", title=LONG * 4),
        [row(0.5, sparsity=s, s=f"{i} {LONG * 3}", d=LONG + d) for i in range(9) for s in (0.0, 0.5) for d in "abc"],
        {"s": [f"{i} {LONG * 3}" for i in range(9)], "d": [LONG + d for d in "abc"]},
    ),
    "many bars": (
        BarsFigure(bars="scheme", groups="net"),
        bars([f"scheme {i}" for i in range(8)], [f"network_{i}_of_the_study" for i in range(6)]),
        {"scheme": [f"scheme {i}" for i in range(8)], "net": [f"network_{i}_of_the_study" for i in range(6)]},
    ),
    "long bars": (
        BarsFigure(bars="scheme"),
        bars([f"{i}{'x' * 40} {LONG}" for i in range(12)], [""]),
        {"scheme": [f"{i}{'x' * 40} {LONG}" for i in range(12)]},
    ),
}


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_cut_off_or_covered(case: str) -> None:
    spec, rows, axes = CASES[case]
    figure, _ = compose(spec, rows, axes)
    figure.draw_without_rendering()
    taken = figure.get_tightbbox()  # in inches, with all that is drawn
    width, height = figure.get_size_inches()
    assert min(taken.x0, taken.y0, width - taken.x1, height - taken.y1) > 0
    for panel in figure.axes:
        assert panel.bbox.height > 120  # of a hundred pixels to the inch
        assert not panel.bbox.overlaps(figure.legends[0].get_window_extent())
        labels = [label for label in panel.get_xticklabels() if label.get_text() and not label.get_rotation()]
        for left, right in itertools.pairwise(label.get_window_extent() for label in labels):
            assert left.x1 <= right.x0


@pytest.mark.usefixtures("styled")
def test_values_on_crowded_bars_do_not_overlap() -> None:
    spec, rows, axes = CASES["many bars"]
    figure, _ = compose(spec, rows, axes)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 48
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_the_files_are_the_same_each_time_and_keep_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ["$a_1$ & <b>", "_b"]
    rows = [row(0.5, sparsity=s, schedule=label) for label in labels for s in (0.0, 0.5)]
    spec = SparsityFigure(lines="schedule", title="$T$")
    first = spec.draw(results(rows, {"schedule": labels}), tmp_path / "v0.1")[:2]
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)
    second = spec.draw(results(rows, {"schedule": labels}), tmp_path / "again")[:2]
    assert [path.name for path in first] == ["v0.1.svg", "v0.1.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert matplotlib.rcParams["font.size"] == 30.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "again.svg", "v0.1.png", "v0.1.svg"]
    shown = [element.text for element in ET.parse(first[0]).iter("{http://www.w3.org/2000/svg}text")]
    assert {"$T$", *labels, "Test accuracy (%)", "Sparsity (%)"} <= set(shown)
    png = first[1].read_bytes()
    assert int.from_bytes(png[16:20], "big") == 7 * 200  # seven inches


def test_a_study_without_values_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run of the study has a test_nll yet"):
        MagnitudeFigure(metric="test_nll").draw(results([row(None)], {}), tmp_path / "figure")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_only_drawing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("drawing_alone", drawing.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(UserError, match=r"figures need matplotlib: pip install 'dasc\[study\]'"), module.style():
        pass
