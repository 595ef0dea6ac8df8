"""`dasc study`: plan, run, status, report and magnitudes of a study file."""

import argparse
import math
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from dasc.callbacks.files import write_text
from dasc.command import Reader
from dasc.errors import UserError, one_of
from dasc.messages import sentence
from dasc.study.cells import Cell, Cells
from dasc.study.estimate import START, seconds_per_epoch, span
from dasc.study.file import StudyFile, read_study
from dasc.study.folders import (
    CONFIG,
    ERROR,
    LOCK,
    PLAN,
    RESULT,
    is_locked,
    locked,
    read_json,
    run_folder,
    study_folder,
    write_json,
)
from dasc.study.jobs import Job, epochs_of, plan_jobs
from dasc.study.magnitudes import CHOICES, DRAWS, augmented_losses, overlay, select, suited
from dasc.study.ray_runner import RayRunner
from dasc.study.report import write_report
from dasc.study.results import collect
from dasc.study.runners import LocalRunner, Runner
from dasc.study.schedule import carry_out
from dasc.study.work import Order

COMMANDS = {
    "plan": "print the runs, the stages that they share, and how long they will take",
    "run": "carry out what is not finished, then report; start it again however it ended",
    "status": "print the state of each run",
    "report": "write results.csv, report.md, report.html and the figures",
    "magnitudes": "print the magnitude that suits each sparsity, and write it as a table of stages",
}
"""What follows `dasc study`, and what it does."""

_CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Study:
    """A study with its runs."""

    file: StudyFile
    results: Path
    cells: Sequence[Cell]
    jobs: Sequence[Job]
    reader: Reader


def study(words: Sequence[str]) -> None:
    """Carry out `dasc study WORDS`.

    Raises:
        UserError: The study file, an option or a results folder is wrong.
    """
    given, rest = _parser().parse_known_args(words)
    file = read_study(given.file)
    results = Path(given.results) if given.results else study_folder(file.name)
    _check_folder(results, file.name)
    if given.command in ("plan", "run"):
        read = _resolved(file, results, _options(rest))
        _plan(read, given.jobs) if given.command == "plan" else _run(read, given, words)
        return
    if rest:
        raise UserError(f"{rest[0]} is no option of dasc study {given.command}: see dasc study {given.command} --help")
    plan = read_json(results / PLAN)
    if plan is None:
        raise UserError(f"nothing of this study was run in {results}: start it by dasc study run {given.file}")
    if given.command == "status":
        _status(plan, results)
    elif given.command == "report":
        _report(file, plan, results)
    else:
        _magnitudes(given, plan, results)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dasc study", description="Many runs from one file, their table and their figures.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=what, epilog=_OPTIONS if name in ("plan", "run") else None
        )
        command.add_argument("file", metavar="FILE", help="the study file, such as configs/studies/smoke/fig3.yaml")
        command.add_argument("--results", metavar="DIR", help="the study's folder (lightning_logs/studies/NAME)")
        if name in ("plan", "run"):
            command.add_argument("--jobs", type=_count, default=1, help="processes of this machine at a time (1)")
        if name == "run":
            command.add_argument("--runner", choices=("local", "ray"), default="local", help="local processes, or Ray")
            command.add_argument("--address", help="ray: HOST:PORT of a cluster, or auto (none: Ray on this machine)")
            command.add_argument("--cpus", type=_count, default=1, help="ray: CPUs of a training (1)")
            command.add_argument("--gpus", type=_share, default=0.0, help="ray: GPUs of a training, or part of one (0)")
        if name == "magnitudes":
            command.add_argument(
                "--choose", choices=CHOICES, default="optimal", help="the magnitude that the table gets (optimal)"
            )
            command.add_argument(
                "--select", metavar="AXIS=LABEL", action="append", default=[], help="which of several networks"
            )
            command.add_argument("--output", metavar="FILE", help="where the table is written (DIR/magnitudes.yaml)")
    return parser


_OPTIONS = "Options of dasc fit, such as --data.root DIR or --trainer.precision bf16-mixed, are given to all runs."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"{message}: see {self.prog} --help")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes: write 1 or more")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of GPUs: write 0, 0.25, 1 or more")
    return share


def _options(words: Sequence[str]) -> dict[str, Any]:
    """Read `--key value` and `--key=value` as overrides."""
    options: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            raise UserError(f"'{word}' belongs to no option: options of dasc fit are written --KEY VALUE")
        key, equals, text = word.removeprefix("--").partition("=")
        if not equals:
            if not left:
                raise UserError(f"--{key} has no value: write --{key} VALUE")
            text = left.pop(0)
        options[key] = yaml.safe_load(text) if key == "stages" or key.startswith("stages[") else text
    return options


def _check_folder(results: Path, name: str) -> None:
    plan = read_json(results / PLAN)
    if plan is not None and plan["study"] != name:
        raise UserError(
            f"{results} has the results of the study '{plan['study']}', not of '{name}': give another --results"
        )


def _resolved(file: StudyFile, results: Path, options: Mapping[str, Any]) -> _Study:
    reader = Reader()
    cells = Cells(file, results, reader, options).all()
    tables = [[{"magnitude": _text(row.magnitude), "sparsity": row.sparsity} for row in c.stages] for c in cells]
    for figure in file.figures:
        figure.check(_shown_axes(file), tables)
    return _Study(file, results, cells, plan_jobs(cells), reader)


def _shown_axes(file: StudyFile) -> dict[str, list[str]]:
    """Return the labels of the axes, but for that of the seeds."""
    return {axis: list(labels) for axis, labels in file.grid.axes.items() if axis != file.grid.seed_axis}


def _text(magnitude: Any) -> str:
    return str(list(magnitude)) if isinstance(magnitude, tuple) else str(magnitude)


def _plan(read: _Study, slots: int) -> None:
    """Print the runs, what they share, and how long they will take."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "", "epochs", "of them shared"):
        table.add_column(name, overflow="fold")
    jobs = {job.id: job for job in read.jobs}
    for cell in read.cells:
        total = cell.stages.total_epochs
        table.add_row(cell.id, cell.title, str(total), str(total - jobs[cell.id].epochs))
    _CONSOLE.print(table)
    whole, trained = epochs_of(read.cells, read.jobs)
    runs = {cell.id for cell in read.cells}
    _CONSOLE.print(
        f"{len(runs)} runs, {whole} epochs if each were trained whole; shared stages are trained once: "
        f"{trained} epochs, {1 - trained / whole:.0%} less"
    )
    left = [job for job in read.jobs if not (run_folder(read.results, job.id) / RESULT).is_file()]
    if not left:
        _CONSOLE.print(f"All are finished: {read.results}")
        return
    epoch = seconds_per_epoch(left, read.results, read.reader)
    seconds = {job.id: START + job.epochs * epoch[job.id] for job in left}
    _CONSOLE.print(
        f"{len(left)} of {len(read.jobs)} trainings are to be done: about {_duration(sum(seconds.values()))} one after "
        f"the other, {_duration(span(left, seconds, slots))} with --jobs {slots} (each as fast as if it were alone)"
    )


def _run(read: _Study, given: argparse.Namespace, words: Sequence[str]) -> None:
    """Carry out what is not finished, and report."""
    read.results.mkdir(parents=True, exist_ok=True)
    with locked(read.results / LOCK, wait=False) as free:
        if not free:
            raise UserError(f"another dasc study run is at work in {read.results}: let it end, or stop it")
        _check(read)
        runner = _runner(given)
        plan = _written(read, words)
        failed = _carried_out(read, runner)
        _report(read.file, plan, read.results)
    if failed:
        sys.exit(1)


def _check(read: _Study) -> None:
    """Check what the data decide before anything is trained; what is to be downloaded is there then, once for all."""
    checked: dict[str, Job] = {}
    for job in read.jobs:
        if not (run_folder(read.results, job.id) / RESULT).is_file():
            checked.setdefault(repr((job.config["model"], job.config["data"])), job)
    for job in checked.values():
        try:
            _, data = read.reader.make(job.config)
            data.prepare_data()
            data.check_batch_size(1)
        except Exception as error:
            reason = sentence(error)
            if reason is None:
                raise
            raise UserError(f"{job.title}: {reason}") from error


def _runner(given: argparse.Namespace) -> Runner:
    if given.runner == "local":
        if given.address is not None:
            raise UserError("--address is Ray's: add --runner ray")
        return LocalRunner(given.jobs)
    return RayRunner(given.address, given.cpus, given.gpus)


def _carried_out(read: _Study, runner: Runner) -> dict[str, str]:
    done = {job.id for job in read.jobs if (run_folder(read.results, job.id) / RESULT).is_file()}
    start, total, ended = time.monotonic(), len(read.jobs), len(done)
    _CONSOLE.print(f"{total} trainings, {ended} of them are finished: {read.results}")

    def tell(job: Job, error: str | None) -> None:
        nonlocal ended
        ended += 1
        said = "finished" if error is None else f"failed ({error})"
        _CONSOLE.print(f"[{ended}/{total}] {_duration(time.monotonic() - start)}  {job.id}  {job.title}: {said}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return carry_out(read.jobs, done, runner, lambda job: _order(job, read.results), tell)
    except (KeyboardInterrupt, SystemExit):
        _CONSOLE.print("Stopped; the same command goes on from here")
        raise SystemExit(130) from None
    finally:
        runner.stop()


def _order(job: Job, results: Path) -> Order:
    return Order(
        folder=run_folder(results, job.id),
        rows=job.rows,
        start=None if job.start is None else run_folder(results, job.start),
        start_rows=job.start_rows,
    )


def _written(read: _Study, words: Sequence[str]) -> dict[str, Any]:
    """Write the plan and the config of each job, and return the plan."""
    for job in read.jobs:
        folder = run_folder(read.results, job.id)
        trainer = {**job.config["trainer"], "default_root_dir": str(folder)}
        text = yaml.safe_dump({**job.config, "trainer": trainer}, sort_keys=False)
        head = f"# {read.file.name}: {job.title}\n# dasc fit --config {folder / CONFIG}\n"
        write_text(folder / CONFIG, head + text)
    kept = {"id": "id", "title": "title", "part": "part", "labels": "labels", "seed": "seed"}
    plan = {
        "study": read.file.name,
        "command": shlex.join(["dasc", "study", *words]),
        "axes": _shown_axes(read.file),
        "runs": [{key: getattr(cell, name) for key, name in kept.items()} for cell in read.cells],
        "jobs": [{key: getattr(job, key) for key in _KEPT} | {"after": list(job.after)} for job in read.jobs],
    }
    write_json(read.results / PLAN, plan)
    return plan


_KEPT = ("id", "title", "rows", "start", "start_rows")


def _status(plan: Mapping[str, Any], results: Path) -> None:
    """Print the state of each job."""
    counts: dict[str, int] = {}
    for job in plan["jobs"]:
        state = _state(run_folder(results, job["id"]))
        name = state.partition(":")[0]
        counts[name] = counts.get(name, 0) + 1
        _CONSOLE.print(f"{job['id']}  {job['title']}: {state}")
    _CONSOLE.print(", ".join(f"{number} {name}" for name, number in counts.items()))


def _state(folder: Path) -> str:
    if (folder / RESULT).is_file():
        return "finished"
    if is_locked(folder / LOCK):
        return "running"
    if (folder / ERROR).is_file():
        return f"failed: {(folder / ERROR).read_text().strip()}"
    return "broken off" if (folder / "lightning_logs").is_dir() else "not begun"


def _report(file: StudyFile, plan: Mapping[str, Any], results: Path) -> None:
    """Write the report, and say where it is."""
    for figure in file.figures:
        for key, axis in figure.axes.items():
            if axis not in plan["axes"]:
                raise UserError(f"figure.{key}: {one_of('axis of the runs in ' + str(results), axis, plan['axes'])}")
    for line in write_report(file, plan, results):
        _CONSOLE.print(line)


def _magnitudes(given: argparse.Namespace, plan: Mapping[str, Any], results: Path) -> None:
    """Print what suits each sparsity, and write the table of stages that follows."""
    rows = select(collect(plan, results), plan["axes"], _selected(given.select))
    if not rows:
        raise UserError(f"no run in {results} is finished: dasc study run {given.file}")
    found = suited(rows, augmented_losses(rows, plan, results, Reader()))
    table = Table(box=None, pad_edge=False, caption=_MEANING, caption_justify="left")
    for name in ("sparsity", "M* (Eq. 3)", "optimal", "maximal"):
        table.add_column(name, justify="right")
    for each in found:
        cells = (each.eq3, each.optimal, each.maximal)
        table.add_row(f"{each.sparsity:.0%}", *("-" if value is None else str(value) for value in cells))
    _CONSOLE.print(table)
    path = Path(given.output) if given.output else results / "magnitudes.yaml"
    text = overlay(found, given.choose, rows, results)
    write_text(path, f"{text.rstrip()}\n")
    _CONSOLE.print(f"{text.rstrip()}\nwritten: {path}; dasc fit --config CONFIG --config {path} trains it")


_MEANING = (
    f"Eq. 3: best on augmented validation images ({DRAWS} draws); optimal: best clean validation accuracy; "
    "maximal: the largest not worse than none"
)


def _selected(words: Sequence[str]) -> dict[str, str]:
    chosen = {}
    for word in words:
        axis, equals, label = word.partition("=")
        if not equals:
            raise UserError(f"--select {word} is written AXIS=LABEL")
        chosen[axis] = label
    return chosen


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if seconds < 5400 else f"{hours} h"
