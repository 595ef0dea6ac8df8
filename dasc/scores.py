"""Results of `dasc validate` and `dasc test`: the printed table, and test.json."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dasc import __version__, runs
from dasc.callbacks.files import write_text
from dasc.errors import UserError
from dasc.metrics import CONFIDENCE, METRICS, MetricFormat, proportion_interval

FILE = "test.json"

_DEFAULT = MetricFormat("", "", scale=1.0, digits=4)
"""Format of a metric without one."""

_IDENTITY = ("checkpoint", "data", "images")
"""Keys of a record that are equal if a test was repeated."""


@dataclass(frozen=True)
class Scores:
    """Metrics of a checkpoint.

    Args:
        values: The results of Lightning's `validate` or `test`, such as `test/accuracy`.
        images: Number of images that were scored.
    """

    values: Mapping[str, float]
    images: int

    def metrics(self) -> dict[str, float]:
        """Return the values by the names of the metrics, such as `accuracy`."""
        return {name.partition("/")[2] or name: float(value) for name, value in self.values.items()}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % confidence intervals of the metrics that are proportions of the images."""
        return {
            name: proportion_interval(value, self.images)
            for name, value in self.metrics().items()
            if self.images and name in METRICS and METRICS[name].is_proportion and 0 <= value <= 1
        }

    def table(self) -> Iterator[str]:
        """Yield a line for each metric: title, rounded value, unit, and the interval of a proportion."""
        metrics, intervals = self.metrics(), self.intervals()
        titles = {name: METRICS[name].title if name in METRICS else name for name in metrics}
        width = max(map(len, titles.values()), default=0)
        for name, value in metrics.items():
            form = (METRICS[name].study if name in METRICS else None) or _DEFAULT
            unit = " %" if form.scale == 100 else ""
            line = f"  {titles[name]:{width}}  {value * form.scale:.{form.digits}f}{unit}"
            if name in intervals:
                low, high = (f"{bound * form.scale:.{max(form.digits - 1, 0)}f}" for bound in intervals[name])
                line += f" ({CONFIDENCE * 100:g} % interval {low} to {high}{unit}, {self.images} images)"
            yield line


def results_file(checkpoint: Path, root: Path) -> Path:
    """Return the file of the test results: in the run folder of the checkpoint, or else in `root`."""
    return (runs.folder_of(checkpoint) or root) / FILE


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records in a file of test results; none if there is no file.

    Raises:
        UserError: The file has another content.
    """
    try:
        records = json.loads(path.read_text()) if path.is_file() else []
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError("it is not a list of records")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be results of dasc test, got another file ({error}): move it elsewhere") from None
    return records


def record(scores: Scores, checkpoint: Path, path: Path, network: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Return the record of a test, as plain data.

    Args:
        scores: The results.
        checkpoint: The file that was tested.
        path: The file that the record is written to. A checkpoint in its folder is recorded relative to it.
        network: `{class_path, init_args}` of the network.
        data: The images, `ImageData`.
    """
    file, folder = Path(os.path.abspath(checkpoint)), Path(os.path.abspath(path.parent))
    settings = {"dataset": data.dataset, "root": data.root, "split_seed": data.split_seed}
    return {
        "checkpoint": str(file.relative_to(folder) if file.is_relative_to(folder) else file),
        "network": dict(network),
        "data": settings | {"image_size": list(data.image_size)},
        "images": scores.images,
        "metrics": {name: _number(value) for name, value in scores.metrics().items()},
        "confidence": CONFIDENCE,
        "intervals": {name: list(bounds) for name, bounds in scores.intervals().items()},
        "versions": {"dasc": __version__, "torch": str(torch.__version__)},
    }


def add_record(path: Path, added: Mapping[str, Any]) -> None:
    """Add a record to a file of test results; it replaces that of the same checkpoint on the same images.

    Raises:
        UserError: The file cannot be read or written.
    """
    kept: Sequence[Any] = [
        earlier for earlier in read_records(path) if any(earlier.get(key) != added[key] for key in _IDENTITY)
    ]
    try:
        write_text(path, json.dumps([*kept, added], indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): the results are those printed above") from None


def _number(value: float) -> float | None:
    """Return a number that JSON has; None stands for NaN and infinity."""
    return value if math.isfinite(value) else None
