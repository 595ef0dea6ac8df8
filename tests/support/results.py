"""Rows of results.csv, made and read."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dasc.study.analysis.results import typed

TEXTS = ("run", "part", "magnitude")


def results(rows: Sequence[Mapping[str, Any]], axes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return rows as figures and tables take them."""
    return typed(pd.DataFrame(list(rows)), axes)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read results.csv: numbers as numbers, empty cells as None."""
    with path.open(newline="") as file:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(key: str, text: str) -> Any:
    if text == "":
        return None
    if key in TEXTS or key.startswith("axis_"):
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)
