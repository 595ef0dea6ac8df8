"""Training and scoring of one run of a study, in a process of its own."""

import csv
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

import dasc
from dasc import checkpoint, runs
from dasc.callbacks.files import write_text
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.failures import explain
from dasc.modules import Classifier
from dasc.study.execution.scores import score_network, scoring_trainer
from dasc.study.folders import CONFIG, ERROR, LOG, RESULT, checkpoint_path, lock, read_result, run_folder, write_json
from dasc.study.plan import Run

IMAGES = "test_images"
"""The column of results.csv with the number of test images."""

_RECORDED = ("processes", "device", "threads", "precision", "dasc", "torch", "lightning")
TIMES = ("epochs", "seconds", "images_per_second", *_RECORDED, "peak_memory")
"""What is recorded of a training; the memory in MB, None where the system does not tell."""


def result_column(metric: str) -> str:
    """Return the column of results.csv for a metric of `dasc.metrics.METRICS`."""
    return f"test_{metric}"


def carry_out_run(run: Run, results: Path, threads: int) -> str | None:
    """Train what is left to train of a run, score its stages, and write result.json, or error.txt with the error.

    Returns:
        The error; None if the run is finished.
    """
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of each process, where a training has several
    folder = run_folder(results, run.id)
    with lock(folder):  # a process that survived a killed study may still train the run
        if (folder / RESULT).is_file():
            return None
        (folder / ERROR).unlink(missing_ok=True)
        with _to_log(folder / LOG):
            try:
                write_json(folder / RESULT, train_and_score(run, results))
            except (Exception, SystemExit) as error:  # Lightning exits where it is told to stop
                traceback.print_exc()
                said = explain(error).sentence
                write_text(folder / ERROR, f"{said}\n")
                return said
    return None


def train_and_score(run: Run, results: Path) -> dict[str, Any]:
    """Train what is left to train of a run, and return its rows with the scores on the test images."""
    folder = run_folder(results, run.id)
    with _restored_process():
        module, data, trainer = _train(run, results)
    version = _version(folder)
    recorded = checkpoint.read(version / "checkpoints" / "last.ckpt")["dasc"]
    if len(recorded["rows"]) < run.rows:
        raise UserError(f"the training stopped after {recorded['epochs_done']} epochs: see {folder / LOG}")
    data.use(recorded)
    data.source.check_unseen("test", recorded)
    scoring = scoring_trainer(trainer.accelerator, trainer.precision)
    rows = [] if run.start is None else read_result(results, run.start)["rows"]
    for number in range(run.start_rows + 1, run.rows + 1):
        path = version / "checkpoints" / f"stage-{number}.ckpt"
        network = checkpoint.load_network(path, module.trusted_modules()).network
        scores = score_network(scoring, network, data)
        tests = {result_column(name): round(value, 6) for name, value in scores.items()}
        rows.append(recorded["rows"][number - 1] | tests | {IMAGES: data.counts()["test"]})
    return {"rows": rows, "timing": _timing(version / "timing.csv")}


def _train(run: Run, results: Path) -> tuple[Classifier, ImageData, Any]:
    """Run `dasc fit` as a user would: other processes of the training are started with these words.

    Returns:
        The module, the data, and the part `trainer` of the config.
    """
    from dasc.cli import run as run_command  # the command imports this package

    folder = run_folder(results, run.id)
    for version in runs.run_folders(folder):
        if not (version / "checkpoints" / "last.ckpt").is_file():  # killed in its first epoch
            shutil.rmtree(version)
    words = ["fit", "--config", str(folder / CONFIG), "--trainer.enable_progress_bar=false"]
    if checkpoint_path(folder, "last").is_file():
        is_alone = len(runs.run_folders(folder)) == 1
        words += ["--ckpt_path", "last" if is_alone else str(checkpoint_path(folder, "last"))]
    elif run.start is not None:
        start = _version(run_folder(results, run.start))
        words += ["--ckpt_path", str(start / "checkpoints" / f"stage-{run.start_rows}.ckpt")]
    sys.argv = [str(Path(dasc.__file__).with_name("__main__.py")), *words]
    fit = run_command()
    return fit.model, fit.datamodule, fit.config.trainer


def _version(folder: Path) -> Path:
    """Return the first version in the folder of a run; others are of the user, who ran its config."""
    last = checkpoint_path(folder, "last")
    if not last.is_file():
        raise UserError(f"{last} does not exist: remove {folder / runs.LOGS} to train the run again")
    return last.parent.parent


@contextmanager
def _restored_process() -> Iterator[None]:
    """Leave the process group of a training, and restore the environment, when the training ends."""
    environment = dict(os.environ)
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(environment)


def _timing(path: Path) -> dict[str, Any]:
    """Return what timing.csv records of all epochs that were trained here, repeated ones too."""
    with path.open() as file:
        epochs = list(csv.DictReader(file))
    seconds = sum(float(row["train_seconds"]) for row in epochs)
    images = sum(float(row["train_seconds"]) * float(row["images_per_second"]) for row in epochs)
    return {
        "epochs": len(epochs),
        "seconds": round(seconds, 3),
        "images_per_second": round(images / max(seconds, 1e-9), 1),
        **{name: epochs[-1][name] for name in _RECORDED},
        "peak_memory": peak_memory(),
    }


def peak_memory() -> int | None:
    """Return the most memory that this process has had, in MB; None where the system does not tell."""
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // (1_000_000 if sys.platform == "darwin" else 1_000)
    return None


@contextmanager
def _to_log(path: Path) -> Iterator[None]:
    """Send what is printed, also by libraries below Python, to a file."""
    kept = [(stream, os.dup(number)) for number, stream in ((1, sys.stdout), (2, sys.stderr))]
    with path.open("a") as file:
        try:
            for number, (stream, _) in enumerate(kept, start=1):
                stream.flush()
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, (stream, own) in enumerate(kept, start=1):
                stream.flush()
                os.dup2(own, number)
                os.close(own)
