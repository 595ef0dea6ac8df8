"""`dasc study`: plan, run, status, report and magnitudes of a study file."""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dasc.callbacks.files import write_text
from dasc.config import ConfigReader
from dasc.errors import UserError, unknown_name
from dasc.failures import explain
from dasc.modules.trial import check_trainable
from dasc.study.cells import Cells
from dasc.study.file import StudyFile, read_study
from dasc.study.folders import CONFIG, LOCK, PLAN, is_finished, locked, read_json, run_folder, study_folder, write_json
from dasc.study.jobs import Job, Study, plan_jobs
from dasc.study.magnitudes import augmented_losses, overlay, select, suited
from dasc.study.options import fit_options, parse_selection, parser
from dasc.study.ray_runner import RayRunner
from dasc.study.report import write_report
from dasc.study.results import collect
from dasc.study.runners import LocalRunner, Runner
from dasc.study.schedule import carry_out
from dasc.study.show import CONSOLE, duration, show_magnitudes, show_plan, show_status
from dasc.study.work import WorkOrder


def study(words: Sequence[str]) -> None:
    """Carry out `dasc study WORDS`.

    Raises:
        UserError: The study file, an option or a results folder is wrong.
    """
    given, rest = parser().parse_known_args(words)
    file = read_study(given.file)
    results = Path(given.results) if given.results else study_folder(file.name)
    _check_folder(results, file.name)
    if given.command in ("plan", "run"):
        read = _resolve(file, results, fit_options(rest))
        show_plan(read, given.jobs) if given.command == "plan" else _run(read, given, words)
        return
    if rest:
        raise UserError(f"{rest[0]} is no option of dasc study {given.command}: see dasc study {given.command} --help")
    plan = read_json(results / PLAN)
    if plan is None:
        raise UserError(f"nothing of this study was run in {results}: start it by dasc study run {given.file}")
    if given.command == "status":
        show_status(plan, results)
    elif given.command == "report":
        _report(file, plan, results)
    else:
        _magnitudes(given, plan, results)


def _check_folder(results: Path, name: str) -> None:
    plan = read_json(results / PLAN)
    if plan is not None and plan["study"] != name:
        raise UserError(
            f"{results} has the results of the study '{plan['study']}', not of '{name}': give another --results"
        )


def _resolve(file: StudyFile, results: Path, options: Mapping[str, Any]) -> Study:
    reader = ConfigReader()
    cells = Cells(file, results, reader, options).all()
    tables = [
        [{"magnitude": str(row.dump().get("magnitude", "none")), "sparsity": row.sparsity} for row in c.stages]
        for c in cells
    ]
    for figure in file.figures:
        figure.check(_shown_axes(file), tables)
    return Study(file, results, cells, plan_jobs(cells), reader)


def _shown_axes(file: StudyFile) -> dict[str, list[str]]:
    """Return the labels of the axes, but for that of the seeds."""
    return {axis: list(labels) for axis, labels in file.grid.axes.items() if axis != file.grid.seed_axis}


def _run(read: Study, given: argparse.Namespace, words: Sequence[str]) -> None:
    """Carry out what is not finished, and report."""
    read.results.mkdir(parents=True, exist_ok=True)
    with locked(read.results / LOCK, wait=False) as free:
        if not free:
            raise UserError(f"another dasc study run is at work in {read.results}: let it end, or stop it")
        _check(read)
        runner = _runner(given)
        plan = _written(read, words)
        failed = _carry_out(read, runner)
        _report(read.file, plan, read.results)
    if failed:
        sys.exit(1)


def _check(read: Study) -> None:
    """Check what the data decide before anything is trained; what is to be downloaded is there then, once for all."""
    checked: dict[str, Job] = {}
    for job in read.jobs:
        if not is_finished(read.results, job.id):
            checked.setdefault(repr((job.config["model"], job.config["data"])), job)
    for job in checked.values():
        try:
            module, data = read.reader.make(job.config)
            data.prepare_data()
            data.check_batch_size(1)
            check_trainable(module, data)
        except Exception as error:
            failure = explain(error)
            if failure.status != 2:
                raise
            raise UserError(f"{job.title}: {failure.sentence}") from error


def _runner(given: argparse.Namespace) -> Runner:
    if given.runner == "local":
        if given.address is not None:
            raise UserError("--address is Ray's: add --runner ray")
        return LocalRunner(given.jobs)
    return RayRunner(given.address, given.cpus, given.gpus)


def _carry_out(read: Study, runner: Runner) -> dict[str, str]:
    done = {job.id for job in read.jobs if is_finished(read.results, job.id)}
    start, total, ended = time.monotonic(), len(read.jobs), len(done)
    CONSOLE.print(f"{total} trainings, {ended} of them are finished: {read.results}")

    def tell(job: Job, error: str | None) -> None:
        nonlocal ended
        ended += 1
        said = "finished" if error is None else f"failed ({error})"
        CONSOLE.print(f"[{ended}/{total}] {duration(time.monotonic() - start)}  {job.id}  {job.title}: {said}")

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return carry_out(read.jobs, done, runner, lambda job: _order(job, read.results), tell)
    except (KeyboardInterrupt, SystemExit):
        CONSOLE.print("Stopped: the same command resumes the study")
        raise SystemExit(130) from None
    finally:
        runner.stop()
        signal.signal(signal.SIGTERM, before)


def _order(job: Job, results: Path) -> WorkOrder:
    return WorkOrder(
        folder=run_folder(results, job.id),
        rows=job.rows,
        start=None if job.start is None else run_folder(results, job.start),
        start_rows=job.start_rows,
    )


def _written(read: Study, words: Sequence[str]) -> dict[str, Any]:
    """Write the plan and the config of each job, and return the plan."""
    for job in read.jobs:
        folder = run_folder(read.results, job.id)
        trainer = {**job.config["trainer"], "default_root_dir": str(folder)}
        text = yaml.safe_dump({**job.config, "trainer": trainer}, sort_keys=False)
        head = f"# {read.file.name}: {job.title}\n# dasc fit --config {folder / CONFIG}\n"
        write_text(folder / CONFIG, head + text)
    plan = {
        "study": read.file.name,
        "command": shlex.join(["dasc", "study", *words]),
        "axes": _shown_axes(read.file),
        "runs": [{key: getattr(cell, key) for key in _OF_RUN} for cell in read.cells],
        "jobs": [{key: getattr(job, key) for key in _OF_JOB} for job in read.jobs],
    }
    write_json(read.results / PLAN, plan)
    return plan


_OF_RUN = ("id", "title", "part", "labels", "seed")
_OF_JOB = ("id", "title", "rows", "start", "start_rows", "after")


def _report(file: StudyFile, plan: Mapping[str, Any], results: Path) -> None:
    """Write the report, and say where it is."""
    for figure in file.figures:
        for key, axis in figure.axes.items():
            if axis not in plan["axes"]:
                raise UserError(
                    f"figure.{key}: {unknown_name('axis of the runs in ' + str(results), axis, plan['axes'])}"
                )
    for line in write_report(file, plan, results):
        CONSOLE.print(line)


def _magnitudes(given: argparse.Namespace, plan: Mapping[str, Any], results: Path) -> None:
    """Print what suits each sparsity, and write the table of stages that follows."""
    rows = select(collect(plan, results), plan["axes"], parse_selection(given.select))
    if not rows:
        raise UserError(f"no run in {results} is finished: dasc study run {given.file}")
    found = suited(rows, augmented_losses(rows, plan, results, ConfigReader()))
    show_magnitudes(found)
    path = Path(given.output) if given.output else results / "magnitudes.yaml"
    text = overlay(found, given.choose, rows, results)
    write_text(path, text)
    CONSOLE.print(f"{text}written: {path}; dasc fit --config CONFIG --config {path} trains it")
