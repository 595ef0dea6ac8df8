"""results.csv: a row for each run and stage; times.csv: what each training took."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dasc.callbacks.files import write_csv
from dasc.callbacks.report import columns as stage_columns
from dasc.metrics import study_formats
from dasc.study.folders import RESULT, read_json, run_folder
from dasc.study.points import result_column

TIMES = (
    "epochs",
    "seconds",
    "images_per_second",
    "processes",
    "device",
    "threads",
    "precision",
    "dasc",
    "torch",
    "lightning",
)

Row = Mapping[str, Any]

_TEXTS = ("run", "part", "magnitude")


def axis_column(axis: str) -> str:
    """Return the column of results.csv that has the labels of an axis."""
    return f"axis_{axis}"


def collect(plan: Mapping[str, Any], results: Path) -> list[Row]:
    """Return the rows of all finished runs, in the order of the study."""
    rows: list[Row] = []
    for run in plan["runs"]:
        result = read_json(run_folder(results, run["id"]) / RESULT)
        if result is None:
            continue
        first = {"part": run["part"], "run": run["id"], "seed": run["seed"]}
        first |= {axis_column(axis): run["labels"].get(axis) for axis in plan["axes"]}
        last = len(result["rows"])
        rows += [first | row | {"final": int(row["stage"] == last)} for row in result["rows"]]
    return rows


def write_results(plan: Mapping[str, Any], results: Path) -> list[Row]:
    """Write results.csv and times.csv, and return the rows of the first."""
    rows = collect(plan, results)
    cells = stage_columns(rows)
    axes = [axis_column(axis) for axis in plan["axes"]]
    columns = ("part", "run", *axes, "seed", *cells, *map(result_column, study_formats()), "final")
    write_csv(results / "results.csv", [{c: row.get(c, cells.get(c)) for c in columns} for row in rows], columns)
    timed = [(job, read_json(run_folder(results, job["id"]) / RESULT)) for job in plan["jobs"]]
    times = [{"job": job["id"], "title": job["title"]} | result["timing"] for job, result in timed if result]
    write_csv(results / "times.csv", times, ("job", "title", *TIMES))
    return rows


def read_results(path: Path) -> list[Row]:
    """Read a results.csv again: numbers as numbers, empty cells as None."""
    with path.open(newline="") as file:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(key: str, text: str) -> Any:
    if text == "":
        return None
    if key in _TEXTS or key.startswith("axis_"):
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)
