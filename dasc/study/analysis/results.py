"""Results of a study as a table: results.csv, a row for each run and stage; times.csv, a row for each training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dasc.callbacks.files import write_text
from dasc.callbacks.report import columns as stage_columns
from dasc.metrics import MetricFormat, study_formats
from dasc.study.execution.work import IMAGES, TIMES, result_column
from dasc.study.folders import read_result
from dasc.study.plan import SHARED, STUDY, Plan

Axes = Mapping[str, Sequence[str]]

_VALIDATION = {
    "val_accuracy_last": MetricFormat("Validation accuracy, last epoch (%)", "val. (%)"),
    "val_accuracy_best": MetricFormat("Validation accuracy, best epoch (%)", "val., best (%)"),
}


def metric_formats() -> dict[str, MetricFormat]:
    """Return the columns of results.csv that figures and tables can show, with their formats."""
    return {result_column(name): shown for name, shown in study_formats().items()} | _VALIDATION


def axis_column(axis: str) -> str:
    """Return the column of results.csv with the labels of an axis."""
    return f"axis_{axis}"


def collect(plan: Plan, results: Path) -> pd.DataFrame:
    """Return the rows of all finished runs, in the order of the plan."""
    rows: list[dict[str, Any]] = []
    for run in plan.runs:
        result = None if run.part == SHARED else read_result(results, run.id)
        if result is not None:
            first = {"part": run.part, "run": run.id, "seed": run.seed}
            first |= {axis_column(axis): run.labels.get(axis) for axis in plan.axes}
            rows += [first | row | {"final": int(row["stage"] == len(result["rows"]))} for row in result["rows"]]
    cells, metrics = stage_columns(rows), map(result_column, study_formats())
    columns = ["part", "run", *map(axis_column, plan.axes), "seed", *cells, *metrics, "final", IMAGES]
    return pd.DataFrame([cells | row for row in rows], columns=columns, dtype=object)


def write_results(plan: Plan, results: Path) -> pd.DataFrame:
    """Write results.csv and times.csv, and return the rows of the first, typed."""
    rows = collect(plan, results)
    write_text(results / "results.csv", rows.to_csv(index=False, lineterminator="\n"))
    timed = [(run, read_result(results, run.id)) for run in plan.trainings.values()]
    times = [{"job": run.id, "title": run.title} | result["timing"] for run, result in timed if result is not None]
    frame = pd.DataFrame(times, columns=["job", "title", *TIMES], dtype=object)
    write_text(results / "times.csv", frame.to_csv(index=False, lineterminator="\n"))
    return typed(rows, plan.axes)


def typed(rows: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """Return rows whose numbers are numbers, and whose labels and magnitudes are sorted as in figures and tables."""
    orders = {axis_column(axis): labels for axis, labels in axes.items()}
    orders["magnitude"] = sorted(set(rows["magnitude"]), key=_rank)
    columns: dict[str, Any] = {name: pd.Categorical(rows[name], list(o), ordered=True) for name, o in orders.items()}
    missing = [name for name in metric_formats() if name not in rows]
    numbers = [name for name in rows if name not in ("part", "run", *columns)]
    columns |= {name: pd.to_numeric(rows[name], errors="coerce") for name in numbers}
    return rows.assign(**columns, **dict.fromkeys(missing, np.nan))


def last_rows(rows: pd.DataFrame, by: str = "sparsity_asked") -> pd.DataFrame:
    """Return the last stage of each of the study's own runs at each value of a column: at each of its sparsities."""
    own = rows[rows["part"] == STUDY]
    keys = ["run", by, *(name for name in rows if str(name).startswith("axis_"))]
    return own.sort_values("stage", kind="stable").drop_duplicates(keys, keep="last").sort_index()


def final_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last stage of each of the study's own runs."""
    return rows[(rows["part"] == STUDY) & (rows["final"] == 1)]


def seed_values(rows: pd.DataFrame, by: Sequence[str], metric: str) -> pd.Series:
    """Return the value of each setting and seed, with the sorted index (*by, seed); missing ones are left out.

    A stage that several runs share counts once; several stages of the same setting and seed count by their mean.
    """
    keys = [*by, "seed"]
    stages = rows.drop_duplicates([*keys, *metric_formats()])
    return stages[np.isfinite(stages[metric])].groupby(keys, observed=True)[metric].mean()


def summarise(values: pd.Series, by: Sequence[str]) -> pd.DataFrame:
    """Return n, mean and std (the sample standard deviation; NaN for one value) of the values of each setting."""
    found = values.groupby(level=list(by), observed=True).agg(["count", "mean", "std"])
    return found.rename(columns={"count": "n"})


def optimal(means: Mapping[str, float], metric: str = "test_accuracy") -> str | None:
    """Return the magnitude, or `none`, of the best mean; of equal ones the smaller, `none` before 0."""
    known = {m: mean for m, mean in means.items() if m == "none" or is_number(m)}
    order = sorted(known, key=lambda m: -1 if m == "none" else int(m))
    return max(order, key=lambda m: _sign(metric) * known[m], default=None)


def maximal(means: Mapping[str, float], metric: str = "test_accuracy") -> int | None:
    """Return the largest magnitude that is not worse than `none`; None if there is none, or no `none`."""
    if "none" not in means:
        return None
    gains = {m: _sign(metric) * mean for m, mean in means.items()}
    return max((int(m) for m in gains if is_number(m) and gains[m] >= gains["none"]), default=None)


def is_number(magnitude: str) -> bool:
    """Return whether a magnitude is one integer for the whole stage."""
    return magnitude.isdecimal()


def _sign(metric: str) -> int:
    return 1 if metric_formats()[metric].higher else -1


def _rank(magnitude: str) -> tuple[int, int, str]:
    if is_number(magnitude):
        return (0, int(magnitude), "")
    return (1 if magnitude == "none" else 2, 0, magnitude)
