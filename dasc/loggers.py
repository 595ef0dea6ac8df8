"""Lightning's file loggers: CSVLogger and TensorBoardLogger in folders named after the run's, also when it resumes.

`dasc.private_names` lists the private names of Lightning that are used here.
"""

import csv
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from dasc.errors import UserError
from dasc.runs import Progress

FileLogger = CSVLogger | TensorBoardLogger


def parents(loggers: Iterable[Logger]) -> list[Path]:
    """Return the local folders in which the loggers without a version make their version_N."""
    unversioned = [logger for logger in _file_loggers(loggers) if logger._version is None]
    folders = [
        os.path.expanduser(os.path.expandvars(logger.root_dir))  # as TensorBoardLogger does, and CSVLogger does not
        if isinstance(logger, TensorBoardLogger)
        else logger.root_dir
        for logger in unversioned
    ]
    return [Path(folder) for folder in folders if "://" not in folder]


def name_after(loggers: Iterable[Logger], run_folder: Path) -> None:
    """Give the loggers without a version that of the run folder: 3 for version_3."""
    number = run_folder.name.removeprefix("version_")
    for logger in _file_loggers(loggers):
        if logger._version is None:
            logger._version = int(number) if re.fullmatch(r"0|[1-9]\d*", number) else run_folder.name


def check_nothing_deleted(loggers: Iterable[Logger]) -> None:
    """Refuse a CSVLogger whose configured version has files: it would delete the metrics of another run.

    Raises:
        UserError: The folder has files.
    """
    for logger in _file_loggers(loggers):
        if isinstance(logger, CSVLogger) and logger._version is not None:
            folder = Path(logger.log_dir)
            if folder.is_dir() and any(folder.iterdir()):
                raise UserError(
                    f"CSVLogger would delete metrics.csv of an earlier run in {folder}: "
                    "omit its version to get a new folder for every run, or give another version"
                )


def start(loggers: Iterable[Logger], resumed: Progress | None) -> None:
    """Start the loggers of a run in the first process; call it after `name_after`.

    Args:
        loggers: All loggers of the run.
        resumed: The progress of the checkpoint that the run resumes from in its own folder; None for a new run. What
            was logged before it is kept, and what was logged after it is dropped: the run logs it again.
    """
    for logger in _file_loggers(loggers):
        if isinstance(logger, CSVLogger):
            _start_csv(logger, resumed)
        elif resumed is not None and logger._kwargs.get("purge_step") is None:  # None in a logger of the config
            logger._kwargs["purge_step"] = resumed[0]


def _start_csv(logger: CSVLogger, resumed: Progress | None) -> None:
    """Make the logger's writer, which deletes metrics.csv, and write the kept rows back."""
    path = Path(logger.log_dir) / ExperimentWriter.NAME_METRICS_FILE
    copy = path.with_name(f".{path.name}")
    if path.is_file() and not copy.exists():  # a copy is left by a process that ended before it had written all back
        path.replace(copy)
    with warnings.catch_warnings():  # that files in the folder will be deleted
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        writer = logger.experiment
    if copy.exists():
        if resumed is not None:
            writer.metrics.extend(row for row in _rows(copy) if _is_before(row, resumed))
            writer.save()
        copy.unlink()


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.csv without their empty cells."""
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def _is_before(row: dict[str, Any], resumed: Progress) -> bool:
    """Return whether a row was logged before the checkpoint.

    Lightning logs the number of optimizer steps as `step` and adds `epoch`. A row without `epoch` has a `step` that
    was logged as a metric; for the metrics of dasc that is the epoch.
    """
    epochs, steps = resumed
    step = int(float(row["step"]))
    if "epoch" not in row:
        return step < epochs
    epoch = int(float(row["epoch"]))
    return epoch < epochs or (epoch == epochs and step < steps)


def _file_loggers(loggers: Iterable[Logger]) -> list[FileLogger]:
    return [logger for logger in loggers if isinstance(logger, FileLogger)]
