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
from filelock import Timeout

from dasc.callbacks.files import write_text
from dasc.config import ConfigReader
from dasc.errors import UserError, unknown_name
from dasc.failures import explain
from dasc.modules.trial import check_trainable
from dasc.runs import LOGS
from dasc.study.analysis.magnitudes import augmented_losses, overlay, select, suited
from dasc.study.analysis.report import write_report
from dasc.study.analysis.results import collect, typed
from dasc.study.execution.runners import RUNNERS
from dasc.study.execution.runners.local import default_jobs, default_threads
from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.execution.schedule import NOT_BEGUN, carry_out
from dasc.study.folders import CONFIG, ERROR, lock, read_result, run_folder
from dasc.study.options import fit_options, parse_selection, parser
from dasc.study.plan import Plan, Run
from dasc.study.specification.file import StudyFile, read_study
from dasc.study.specification.runs import resolve_runs
from dasc.study.specification.sharing import share
from dasc.study.terminal import CONSOLE, duration, show_magnitudes, show_plan, show_status


def study(words: Sequence[str]) -> None:
    """Carry out `dasc study WORDS`.

    Raises:
        UserError: The study file, an option or a results folder is wrong.
    """
    given, rest = parser().parse_known_args(words)
    if given.command == "run":
        _check_runner(given)
    file = read_study(given.file)
    results = Path(given.results) if given.results else Path(LOGS) / "studies" / file.name
    recorded = Plan.read(results)
    if recorded is not None and recorded.study != file.name:
        raise UserError(
            f"{results} has the results of the study '{recorded.study}', not of '{file.name}': give another --results"
        )
    if given.command in ("plan", "run"):
        reader = ConfigReader()
        runs = _resolve(file, results, fit_options(rest), reader)
        is_local = getattr(given, "runner", "local") == "local"
        threads = given.cpus or (recorded and recorded.threads) or (default_threads(runs) if is_local else 1)
        plan = Plan(file.name, shlex.join(["dasc", "study", *words]), file.grid.shown_axes, runs, threads)
        work = Work(results, _left(plan, results), threads)
        if given.command == "plan":
            show_plan(plan, results, given.jobs or default_jobs(work))
        else:
            _run(file, plan, work, given, reader)
        return
    if rest:
        raise UserError(f"{rest[0]} is no option of dasc study {given.command}: see dasc study {given.command} --help")
    if recorded is None:
        raise UserError(f"nothing of this study was run in {results}: start it by dasc study run {given.file}")
    if given.command == "status":
        show_status(recorded, results)
    elif given.command == "report":
        _report(file, recorded, results)
    else:
        _magnitudes(given, recorded, results)


def _resolve(file: StudyFile, results: Path, options: Mapping[str, Any], reader: ConfigReader) -> list[Run]:
    runs = resolve_runs(file, results, reader, options)
    for figure in file.figures:
        figure.check(file.grid.shown_axes, runs)
    return share(runs)


def _left(plan: Plan, results: Path) -> list[Run]:
    return [run for run in plan.trainings.values() if read_result(results, run.id) is None]


def _run(file: StudyFile, plan: Plan, work: Work, given: argparse.Namespace, reader: ConfigReader) -> None:
    """Carry out what is not finished, and report."""
    results = work.results
    try:
        with lock(results).acquire(blocking=False):
            _check(work.runs, reader)
            runner = RUNNERS[given.runner].make(given, work)
            _write_configs(plan, results)
            plan.write(results)
            failed = _carry_out(plan, results, runner)
            _report(file, plan, results)
    except Timeout:
        raise UserError(f"another dasc study run is at work in {results}: let it end, or stop it") from None
    if failed:
        sys.exit(1)


def _check_runner(given: argparse.Namespace) -> None:
    """Check the options of runners before a folder is made."""
    for name, runner in RUNNERS.items():
        for option in runner.options:
            if name != given.runner and getattr(given, option.removeprefix("--")) is not None:
                raise UserError(f"{option} must be used with --runner {name}, got --runner {given.runner}")
    RUNNERS[given.runner].check(given)


def _check(runs: Sequence[Run], reader: ConfigReader) -> None:
    """Check what the data decide before anything is trained; data are downloaded here, once for all runs."""
    checked = {repr((run.config["model"], run.config["data"])): run for run in reversed(runs)}
    for run in checked.values():
        try:
            module, data = reader.make(run.config)
            data.prepare_data()
            data.check_batch_size(1)
            check_trainable(module, data)
        except Exception as error:
            failure = explain(error)
            if failure.status != 2:
                raise
            raise UserError(f"{run.title}: {failure.sentence}") from error


def _write_configs(plan: Plan, results: Path) -> None:
    """Write the config of each run, which `dasc fit` can read."""
    for run in plan.trainings.values():
        folder = run_folder(results, run.id)
        trainer = {**run.config["trainer"], "default_root_dir": str(folder)}
        text = yaml.safe_dump({**run.config, "trainer": trainer}, sort_keys=False)
        write_text(folder / CONFIG, f"# {plan.study}: {run.title}\n# dasc fit --config {folder / CONFIG}\n{text}")


def _carry_out(plan: Plan, results: Path, runner: Runner) -> dict[str, str]:
    runs = list(plan.trainings.values())
    done = [run.id for run in runs if read_result(results, run.id) is not None]
    start, ended = time.monotonic(), len(done)
    slots = "" if runner.slots is None else f", {runner.slots} at a time with {plan.threads} CPU threads each"
    CONSOLE.print(f"{len(runs)} trainings, {ended} of them are finished{slots}: {results}")

    def tell(run: Run, error: str | None) -> None:
        nonlocal ended
        ended += 1
        said = "finished" if error is None else f"failed ({error})"
        own = run_folder(results, run.id) / ERROR
        if error is not None and own.parent.is_dir() and not own.is_file() and not error.startswith(NOT_BEGUN):
            write_text(own, f"{error}\n")  # of a process that was killed, which could not
        CONSOLE.print(f"[{ended}/{len(runs)}] {duration(time.monotonic() - start)}  {run.id}  {run.title}: {said}")

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return carry_out(runs, done, runner, tell)
    except (KeyboardInterrupt, SystemExit) as stop:
        CONSOLE.print("Stopped: the same command resumes the study")
        raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
    finally:
        runner.stop()
        signal.signal(signal.SIGTERM, before)


def _report(file: StudyFile, plan: Plan, results: Path) -> None:
    """Write the report, print its tables, and say where it is."""
    for figure in file.figures:
        for key, axis in figure.axes.items():
            if axis not in plan.axes:
                raise UserError(f"figure.{key}: {unknown_name(f'axis of the runs in {results}', axis, plan.axes)}")
    tables, messages = write_report(file, plan, results)
    for table in tables:
        CONSOLE.print(table.rich(), soft_wrap=False)
    for message in messages:
        CONSOLE.print(message)


def _magnitudes(given: argparse.Namespace, plan: Plan, results: Path) -> None:
    """Print what suits each sparsity, and write the table of stages that follows."""
    rows = select(typed(collect(plan, results), plan.axes), plan.axes, parse_selection(given.select))
    if not len(rows):
        raise UserError(f"no run in {results} is finished: dasc study run {given.file}")
    found = suited(rows, augmented_losses(rows, plan, results, ConfigReader()))
    show_magnitudes(found)
    path = Path(given.output) if given.output else results / "magnitudes.yaml"
    text = overlay(found, given.choose, rows, results)
    write_text(path, text)
    CONSOLE.print(f"{text}written: {path}; dasc fit --config CONFIG --config {path} trains it")
