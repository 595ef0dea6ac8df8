"""Carrying out one job of a study, in a process of its own."""

import csv
import multiprocessing
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from dasc.study.folders import CONFIG, ERROR, LOCK, LOG, RESULT, locked, read_json, write_json
from dasc.study.points import result_column
from dasc.study.scores import score_network, scoring_trainer


@dataclass(frozen=True)
class WorkOrder:
    """A job as the process gets it that carries it out.

    Args:
        folder: The job's folder, with its config.
        rows: Rows of its table.
        start: The folder of the job whose last stage it goes on from.
        start_rows: Rows of that job's table.
        threads: Threads of the CPU.
        devices: The GPUs that it may see, as CUDA_VISIBLE_DEVICES; None: all.
    """

    folder: Path
    rows: int
    start: Path | None = None
    start_rows: int = 0
    threads: int = 1
    devices: str | None = None


def context() -> multiprocessing.context.BaseContext:
    """Return how processes are started: on Linux as copies of one that has imported all, and used nothing of it."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__])
    return forking


def outcome(order: WorkOrder, exitcode: int | None) -> str | None:
    """Return what went wrong in a process that carried out an order; None where nothing did."""
    if (order.folder / RESULT).is_file():
        return None
    if (order.folder / ERROR).is_file():
        return (order.folder / ERROR).read_text().strip()
    how = f"by signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"with status {exitcode}"
    memory = " (often too little memory)" if exitcode == -signal.SIGKILL else ""
    return f"its process ended {how}{memory}: see {order.folder / LOG}"


def work(order: WorkOrder) -> None:
    """Carry out an order in this process, which was started for it; the status says whether all went well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this stops it
    if order.devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = order.devices
    if carry_out_order(order) is not None:
        sys.exit(1)


def carry_out_order(order: WorkOrder) -> str | None:
    """Train what is left to train, score the stages, and leave result.json, or error.txt with what went wrong."""
    torch.set_num_threads(order.threads)
    order.folder.mkdir(parents=True, exist_ok=True)
    with locked(order.folder / LOCK):  # one that outlived a killed study is waited for
        if (order.folder / RESULT).is_file():
            return None
        (order.folder / ERROR).unlink(missing_ok=True)
        with _to_log(order.folder / LOG):
            try:
                write_json(order.folder / RESULT, train_and_score(order))
            except (Exception, SystemExit) as error:  # Lightning exits where it is told to stop
                traceback.print_exc()
                said = explain(error).sentence
                write_text(order.folder / ERROR, f"{said}\n")
                return said
    return None


def train_and_score(order: WorkOrder) -> dict[str, Any]:
    """Train what is left to train of an order, and return its rows with the scores on the test images."""
    with _alone_again():
        module, data, trainer = _train(order)
    version = _version(order.folder)
    recorded = checkpoint.read(version / "checkpoints" / "last.ckpt")["dasc"]
    if len(recorded["rows"]) < order.rows:
        raise UserError(f"the training stopped after {recorded['epochs_done']} epochs: see {order.folder / LOG}")
    data.use(recorded)
    data.source.check_unseen("test", recorded)
    scoring = scoring_trainer(trainer.accelerator, trainer.precision)
    rows = [] if order.start is None else read_json(order.start / RESULT)["rows"]
    for number in range(order.start_rows + 1, order.rows + 1):
        path = version / "checkpoints" / f"stage-{number}.ckpt"
        network = checkpoint.load_network(path, module.trusted_modules()).network
        scores = score_network(scoring, network, data)
        tests = {result_column(name): round(value, 6) for name, value in scores.items()}
        rows.append(recorded["rows"][number - 1] | tests)
    return {"rows": rows, "timing": _timing(version / "timing.csv")}


def _train(order: WorkOrder) -> tuple[Classifier, ImageData, Any]:
    """Run `dasc fit` as it would be run alone: its other processes, if it has any, are started with these words.

    Returns:
        The module, the data, and the part `trainer` of the config.
    """
    from dasc.cli import run  # the command imports this package

    for version in runs.run_folders(order.folder):
        if not (version / "checkpoints" / "last.ckpt").is_file():  # killed in its first epoch
            shutil.rmtree(version)
    words = ["fit", "--config", str(order.folder / CONFIG), "--trainer.enable_progress_bar=false"]
    if runs.run_folders(order.folder):
        words += ["--ckpt_path", "last"]
    elif order.start is not None:
        words += ["--ckpt_path", str(_version(order.start) / "checkpoints" / f"stage-{order.start_rows}.ckpt")]
    sys.argv = [str(Path(dasc.__file__).with_name("__main__.py")), *words]
    fit = run()
    return fit.model, fit.datamodule, fit.config.trainer


def _version(folder: Path) -> Path:
    """Return the one run in a job's folder."""
    versions = runs.run_folders(folder)
    if len(versions) != 1:
        raise UserError(f"{folder / runs.LOGS} has {len(versions)} runs, a study leaves one there: remove the others")
    return versions[0]


@contextmanager
def _alone_again() -> Iterator[None]:
    """Leave the process group of a training, and what its launcher left in the environment, when the training ends."""
    environment = dict(os.environ)
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(environment)


def _timing(path: Path) -> dict[str, Any]:
    """Return what timing.csv says of all epochs that were trained here, repeated ones too."""
    with path.open() as file:
        epochs = list(csv.DictReader(file))
    seconds = sum(float(row["train_seconds"]) for row in epochs)
    images = sum(float(row["train_seconds"]) * float(row["images_per_second"]) for row in epochs)
    kept = ("processes", "device", "threads", "precision", "dasc", "torch", "lightning")
    return {
        "epochs": len(epochs),
        "seconds": round(seconds, 3),
        "images_per_second": round(images / max(seconds, 1e-9), 1),
        **{name: epochs[-1][name] for name in kept},
    }


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
