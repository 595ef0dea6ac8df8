"""Style, panels and legend that all figures share."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dasc.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.figure import Figure
    from matplotlib.text import Text

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette without its yellow, which is hard to see on white."""

_MARKERS = ("o", "s", "D", "^", "P", "X", "<", ">", "p")
_DASHES: tuple[tuple[float, ...], ...] = (
    *((), (5, 1.5), (1.2, 1.2), (5, 1.2, 1.2, 1.2)),
    *((8, 2), (2.5, 2.5), (8, 1.5, 2.5, 1.5), (5, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "|||", "+++", "***", "OO")
"""Their numbers have no common divisor with that of the colours: dozens of labels each look different."""

_STYLE: Mapping[Any, Any] = {
    **{"svg.fonttype": "none", "svg.hashsalt": "dasc"},
    **{"text.parse_math": False},  # a $ in a label is a $
    **{"axes.spines.top": False, "axes.spines.right": False, "hatch.linewidth": 0.6, "figure.titlesize": 12},
    **dict.fromkeys(("axes.titlesize", "axes.labelsize"), 10),
    **dict.fromkeys(("legend.fontsize", "legend.title_fontsize", "xtick.labelsize", "ytick.labelsize"), 9),
}

_PANEL = 2.9
"""Height of the axes of a panel, in inches."""

_CHARACTERS = 11
"""Characters of text in an inch, at most."""


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib's settings for figures, whatever the user's own are."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("figures need matplotlib: pip install 'dasc[study]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def make_panels(titles: Sequence[str], title: str, y_label: str, inches: float | None) -> tuple[Figure, list[Panel]]:
    """Return a figure, and a panel of a width in inches for each title; all share the y axis."""
    from matplotlib.figure import Figure

    inches = min(12.0, max(3.4, inches or (7.0 if len(titles) == 1 else 4.6)))
    lines = math.ceil(len(titles) / int(13.8 // inches))
    columns = math.ceil(len(titles) / lines)
    figure = Figure(figsize=(max(5.0, inches * columns), 20), layout="constrained")
    panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for panel in panels[len(titles) :]:
        panel.remove()
    for number, (panel, name) in enumerate(zip(panels, titles, strict=False)):
        panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        panel.set(axisbelow=True, title=wrap(name, inches - 0.8), ylabel="" if number % columns else y_label)
    figure.suptitle(wrap(title, 0.8 * figure.get_figwidth()))
    return figure, panels[: len(titles)]


def add_legend(figure: Figure, note: str, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add a legend with a note as its title under the panels."""
    inches = figure.get_figwidth() - 0.4
    wrapped = [wrap(label, min(4.0, inches - 1)) for label in labels]
    longest = max((len(line) for label in wrapped for line in label.split("\n")), default=1)
    columns = int(inches / (longest / _CHARACTERS + 0.9))
    legend = figure.legend(
        handles,
        [str(i) for i in range(len(labels))],  # labels that start with _ would be left out
        loc="outside lower center",
        ncols=max(1, min(len(labels), columns)),
        title=wrap(note, inches),
        frameon=False,
        handlelength=3.5,
    )
    for text, label in zip(legend.get_texts(), wrapped, strict=True):
        text.set_text(label)


def fit(figure: Figure, panels: Sequence[Panel]) -> None:
    """Turn texts that overlap, and give the figure the height that its panels and texts need."""
    figure.draw_without_rendering()
    for label in itertools.chain(*(panel.get_xticklabels() for panel in panels if _overlap(panel.get_xticklabels()))):
        label.set(rotation=40, ha="right", rotation_mode="anchor")
    figure.draw_without_rendering()
    height, place = figure.get_figheight(), panels[0].get_position().height
    specification: Any = panels[0].get_subplotspec()
    figure.set_figheight(height + specification.get_gridspec().nrows * (_PANEL - place * height))
    figure.draw_without_rendering()
    for text in itertools.chain(*(panel.texts for panel in panels if _overlap(panel.texts))):
        text.set_rotation(90)


def wrap(text: str, inches: float) -> str:
    """Break a text into lines of a width."""
    return textwrap.fill(text, max(8, int(inches * _CHARACTERS)))


def line_look(i: int) -> dict[str, Any]:
    """Return the look of the i-th line."""
    dash = _DASHES[i % len(_DASHES)]
    line = {"color": COLOURS[i % len(COLOURS)], "linestyle": (0, dash) if dash else "-", "linewidth": 1.4}
    return line | {"marker": _MARKERS[i % len(_MARKERS)], "markersize": 4.5}


def line_keys(looks: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the handles of lines for a legend."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], **look) for look in looks]


def error_bars(panel: Panel, places: Sequence[float], points: Any, look: Mapping[str, Any]) -> None:
    """Draw a line with error bars through points."""
    panel.errorbar(places, points["mean"], points["std"], **look, elinewidth=0.9, capsize=2, zorder=3)


def _overlap(texts: Sequence[Text]) -> bool:
    shown = [text.get_window_extent() for text in texts if text.get_text()]
    return any(a.overlaps(b) for a, b in itertools.combinations(shown, 2))
