"""Comparison of several teachers by the metrics of `dasc test`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dasc import checkpoint, runs
from dasc.callbacks.files import write_csv, write_whole
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.metrics import METRICS, VIEWS
from dasc.modules import TeacherConfig, load_teacher
from dasc.networks.state_file import SUFFIXES
from dasc.scoring import ALLOW, run_test

_CAPTION = (
    f"discr.: class discrimination of predictions and of features; T. stddev: over {VIEWS} draws of the augmentation"
)

_PANELS = 3
"""Panels in a row of the figure."""

Row = Mapping[str, Any]


def report(
    trainer: Trainer,
    data: ImageData,
    teachers: Sequence[str],
    root: Path,
    trust: Sequence[str] = (),
    allow_training_images: bool = False,
) -> None:
    """Test teachers on the data; print a table, and write teachers.csv and teachers.svg into `root`.

    Raises:
        UserError: A teacher cannot be read, is of other classes or another image size, or was trained on the test
            images, unless `allow_training_images`; before any is tested.
    """
    for name in teachers:
        if Path(name).suffix in SUFFIXES:
            raise UserError(
                f"{name} is a state_dict: give teacher-report checkpoints of dasc, or folders with runs in them"
            )
    for name in teachers:
        _check_fits(name, data, allow_training_images)
    networks = {name: load_teacher(TeacherConfig(path=name), data, trust).network for name in teachers}
    rows: list[Row] = [{"teacher": name} | run_test(trainer, network, data) for name, network in networks.items()]
    if not trainer.is_global_zero:
        return
    columns = ["teacher", *METRICS]
    write_csv(root / "teachers.csv", [{c: row.get(c) for c in columns} for row in rows], columns)
    console = Console()
    console.print(_table(rows))
    drawn = draw(rows, root / "teachers.svg")
    said = "written: teachers.csv" + (" and teachers.svg" if drawn else "")
    console.print(said if drawn else f"{said} (for the figure: pip install 'dasc\\[study]')", highlight=False)


def _check_fits(name: str, data: ImageData, allow_training_images: bool) -> None:
    recorded = checkpoint.read(runs.checkpoint_in(name), mmap=True)["dasc"]
    size = recorded.get("image_size")
    if size and tuple(size) != data.image_size:
        height, width = size
        raise UserError(
            f"data.image_size must be that of the teachers, {name} has {height}x{width}, the data have "
            f"{'x'.join(map(str, data.image_size))}"
        )
    if not allow_training_images:
        data.source.check_unseen("test", recorded, ALLOW)


def draw(rows: Sequence[Row], path: Path) -> bool:
    """Draw a panel of bars for each metric, into an SVG; whether matplotlib is there to do it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = [str(row["teacher"]) for row in rows]
    lines = math.ceil(len(METRICS) / _PANELS)
    figure = Figure(figsize=(10, (1 + 0.3 * len(names)) * lines), layout="constrained")
    panels = figure.subplots(lines, _PANELS, sharey=True, squeeze=False)
    for panel in panels.flat[len(METRICS) :]:
        panel.remove()
    for panel, (metric, spec) in zip(panels.flat, METRICS.items(), strict=False):
        values = [float(row.get(metric, float("nan"))) for row in rows]
        lengths = [value if math.isfinite(value) else 0.0 for value in values]
        bars = panel.barh(range(len(names)), lengths, color="#4477aa")  # Paul Tol's blue: safe for the colour-blind
        panel.bar_label(bars, [f"{value:.3g}" for value in values], padding=2, fontsize=8)
        panel.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
        panel.set_title(spec.title, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=4)
        panel.margins(x=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    panels.flat[0].invert_yaxis()
    write_whole(path, lambda file: figure.savefig(file, format="svg"))
    return True


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, caption=_CAPTION, caption_justify="left")
    table.add_column("teacher", overflow="fold")
    for spec in METRICS.values():
        table.add_column(spec.short, justify="right")
    for row in rows:
        table.add_row(escape(str(row["teacher"])), *(f"{row[m]:.4f}" if m in row else "-" for m in METRICS))
    return table
