"""Files that are whole or not there at all."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place and move it there: whoever reads it finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text in UTF-8."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Write a whole table with a header; None is an empty cell."""
    columns = list(columns)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *([row[column] for column in columns] for row in rows)])
    write_text(path, text.getvalue())
