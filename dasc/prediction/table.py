"""CSV file of predictions."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dasc.errors import UserError
from dasc.prediction.predict import TOP, Prediction


def columns(num_classes: int) -> list[str]:
    """Return the columns: `path`, `class`, `probability`, then `class2`, `probability2`, to the fifth at most."""
    names = ["path", "class", "probability"]
    return names + [f"{name}{rank}" for rank in range(2, min(TOP, num_classes) + 1) for name in names[1:]]


def cells(prediction: Prediction) -> list[str]:
    """Return the row of a prediction; probabilities have six digits, as in predictions.csv of a config."""
    ranked = zip(prediction.classes, prediction.probabilities, strict=True)
    return [prediction.path, *(cell for name, value in ranked for cell in (name, f"{value:.6f}"))]


def check_new(path: Path) -> None:
    """Check that a file does not exist.

    Raises:
        UserError: It does.
    """
    if os.path.lexists(path):
        raise UserError(f"--output must be a new file, got {path}, which exists: give another --output, or remove it")


@contextmanager
def new_csv(path: Path, header: Iterable[str]) -> Iterator[Callable[[Iterable[Any]], Any]]:
    """Write a new CSV file, in UTF-8; it appears as a whole at the end, and not at all after an error.

    Args:
        path: The file. Its folder is made if it is missing.
        header: Names of the columns.

    Yields:
        A function that writes a row.

    Raises:
        UserError: The file exists or cannot be written.
    """
    check_new(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # names of files that are no UTF-8 keep their bytes
        with beside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            yield writer.writerow
            file.flush()
            os.fsync(file.fileno())
        _publish(beside, path)
    except OSError as error:
        raise UserError(f"--output {path} cannot be written ({error.strerror}): give another --output") from None
    finally:
        with suppress(OSError):
            beside.unlink()


def _publish(beside: Path, path: Path) -> None:
    """Move a finished file to its place, unless another program has made a file there."""
    try:
        os.link(beside, path)
    except OSError:  # it exists, or the file system has no hard links
        if not os.path.lexists(path):
            beside.replace(path)
            return
        other = path.with_name(f"{path.stem}-{os.getpid()}{path.suffix}")
        beside.replace(other)
        raise UserError(f"{path} was made by another program in the meantime: the predictions are in {other}") from None
