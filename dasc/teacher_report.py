"""Several teachers side by side: what their answers are like on the test images, augmented and not."""

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
from dasc.modules import Classifier, Teacher, load_teacher
from dasc.modules.teacher import SUFFIXES
from dasc.networks import auxiliary_blocks
from dasc.scoring import ALLOW
from dasc.stages import Stages

METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "nll": ("NLL", "negative log-likelihood"),
    "ece": ("ECE", "calibration error"),
    "class_discrimination": ("discr. (p)", "class discrimination, predictions"),
    "latent_discrimination": ("discr. (latent)", "class discrimination, latent"),
    "teacher_stddev": ("T. stddev", "T. stddev over draws of the augmentation"),
}
"""The columns of teachers.csv beside `teacher`, and what they are called in the table and in the figure."""

_CAPTION = "discr.: class discrimination of predictions and of features; T. stddev: over 5 draws of the augmentation"

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
    networks = {name: load_teacher(Teacher(path=name), data, trust).network for name in teachers}
    rows: list[Row] = []
    for name, network in networks.items():
        module = Classifier(network, Stages.parse([{"epochs": 1, "auxiliary": auxiliary_blocks(network)}]))
        (values,) = trainer.test(module, datamodule=data, verbose=False)
        rows.append({"teacher": name} | {key.removeprefix("test/"): value for key, value in values.items()})
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
    figure = Figure(figsize=(10, 2 + 0.6 * len(names)), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True)
    for panel, (metric, (_, title)) in zip(panels.flat, METRICS.items(), strict=True):
        values = [float(row.get(metric, float("nan"))) for row in rows]
        lengths = [value if math.isfinite(value) else 0.0 for value in values]
        bars = panel.barh(range(len(names)), lengths, color="#4477aa")  # Paul Tol's blue: safe for the colour-blind
        panel.bar_label(bars, [f"{value:.3g}" for value in values], padding=2, fontsize=8)
        panel.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
        panel.set_title(title, fontsize=9)
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
    for name, _ in METRICS.values():
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(escape(str(row["teacher"])), *(f"{row[m]:.4f}" if m in row else "-" for m in METRICS))
    return table
