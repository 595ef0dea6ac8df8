"""Options of `dasc study`."""

import argparse
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import yaml

from dasc.arguments import ArgumentParser
from dasc.errors import UserError, one_line, unknown_name
from dasc.study.analysis.magnitudes import CHOICES
from dasc.study.execution.runners import RUNNERS

COMMANDS = {
    "plan": "print the runs, the stages that they share, and the time that they will take",
    "run": "train what is not finished, then report; run it again to resume",
    "status": "print the state of each run",
    "report": "write results.csv, report.md, report.html and the figures",
    "magnitudes": "print the magnitude that suits each sparsity, and write it as a table of stages",
}
"""Commands of `dasc study`, and what they do."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of `dasc study`, which leaves options of `dasc fit` over."""
    whole = _Parser(prog="dasc study", description="Many runs from one file, their table and their figures.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=what, epilog=_OPTIONS if name in ("plan", "run") else None
        )
        command.add_argument("file", metavar="FILE", help="the study file, such as configs/studies/smoke/fig3.yaml")
        command.add_argument("--results", metavar="DIR", help="the study's folder (lightning_logs/studies/NAME)")
        if name in ("plan", "run"):
            command.add_argument(
                "--jobs", type=_count, help="trainings at a time (what the cores, the memory or the GPUs allow)"
            )
            command.add_argument("--cpus", type=_count, help="CPU threads of a training (1; on a GPU, its share)")
        if name == "run":
            command.add_argument(
                "--runner", choices=tuple(RUNNERS), default="local", help="local processes, or a cluster (local)"
            )
            command.add_argument("--gpus", type=_share, help="ray, slurm: GPUs of a training; ray: or part of one (0)")
            for runner in RUNNERS.values():
                for option, settings in runner.options.items():
                    command.add_argument(option, **settings)
        if name == "magnitudes":
            command.add_argument(
                "--choose", choices=CHOICES, default="optimal", help="the magnitude that the table gets (optimal)"
            )
            command.add_argument(
                "--select", metavar="AXIS=LABEL", action="append", default=[], help="which of several networks"
            )
            command.add_argument("--output", metavar="FILE", help="where the table is written (DIR/magnitudes.yaml)")
    return whole


_OPTIONS = "Options of dasc fit, such as --data.root DIR or --trainer.precision bf16-mixed, are given to all runs."


class _Parser(ArgumentParser):
    """Parser of `dasc study` and of its commands."""

    def error(self, message: str) -> NoReturn:
        if given := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            raise UserError(unknown_name("command of dasc study", given[1], COMMANDS))
        super().error(message)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {text}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of GPUs >= 0, such as 0.25 or 1, got {text}")
    return share


def fit_options(words: Sequence[str]) -> dict[str, Any]:
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
        try:
            options[key] = yaml.safe_load(text) if key == "stages" or key.startswith("stages[") else text
        except yaml.YAMLError as error:
            raise UserError(f"--{key} must be YAML, got {text!r}: {one_line(error)}") from None
    return options


def parse_selection(words: Sequence[str]) -> dict[str, str]:
    """Read `AXIS=LABEL` of several axes."""
    chosen = {}
    for word in words:
        axis, equals, label = word.partition("=")
        if not equals:
            raise UserError(f"--select {word} is written AXIS=LABEL")
        chosen[axis] = label
    return chosen
