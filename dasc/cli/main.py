"""Dispatch of `dasc COMMAND`, and how errors are shown."""

import sys
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from dasc.cli import fit, plan, score, study, teacher_report
from dasc.cli.command import Command
from dasc.cli.help import main_help
from dasc.cli.quiet import hide_warnings
from dasc.config import new_parser
from dasc.messages import sentence
from dasc.stopping import STATUS, StoppedError

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        fit.COMMAND,
        score.VALIDATE,
        score.TEST,
        score.PREDICT,
        plan.COMMAND,
        teacher_report.COMMAND,
    )
}
"""The commands by name, in the order of `dasc --help`. `dasc study` is not among them: it parses its own words."""


def main(args: Sequence[str] | None = None) -> None:
    """Run `dasc`; a user's mistake is one sentence on stderr and exit status 2.

    Args:
        args: The words after `dasc`; None takes those of the process.
    """
    hide_warnings()
    words = list(sys.argv[1:] if args is None else args)
    try:
        if words[:1] == [study.NAME]:
            study.run(words[1:])
        else:
            run(args)
    except StoppedError as stop:
        rank_zero_only(print)(f"{_prefix(words)}: {stop.message}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print(f"{_prefix(words)}: interrupted before the training started", file=sys.stderr)
        sys.exit(STATUS["Ctrl-C"])
    except Exception as error:
        mistake = sentence(error)
        if mistake is None:
            raise
        print(f"{_prefix(words)}: {mistake}", file=sys.stderr)
        sys.exit(2)


def run(args: Sequence[str] | None = None) -> Any:
    """Run one of `COMMANDS` and return what it returns; errors are raised.

    Args:
        args: The words after `dasc`; None takes those of the process.
    """
    if args is not None and len(sys.argv) > 1:
        rank_zero_warn(
            "dasc was called with arguments of its own, but processes for further devices are started with those of "
            f"this process: sys.argv[1:]={sys.argv[1:]}, args={list(args)}"
        )
    words = list(map(str, sys.argv[1:] if args is None else args))
    parser = new_parser(**main_help())
    subcommands = parser.add_subcommands()
    parsers = {command.name: command.make_parser() for command in _needed(words)}
    for name, of_command in parsers.items():
        subcommands.add_subcommand(name, of_command, help=COMMANDS[name].summary)
    config = parser.parse_args(words)
    name = config.subcommand
    return COMMANDS[name].run(parsers[name], config[name], words)


def _needed(words: Sequence[str]) -> list[Command]:
    """Return the command that is named first; all if there is none, as for `--help` and `--config FILE COMMAND`."""
    return [COMMANDS[word] for word in words[:1] if word in COMMANDS] or list(COMMANDS.values())


def _prefix(words: Sequence[str]) -> str:
    """Return the command as far as its words are known, such as `dasc study plan`."""
    if words[:1] == [study.NAME]:
        return " ".join(["dasc", study.NAME, *study.known(words[1:2])])
    return " ".join(["dasc", *(word for word in words[:1] if word in COMMANDS)])
