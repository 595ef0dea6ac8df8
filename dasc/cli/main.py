"""Dispatch of `dasc COMMAND`, and how errors are shown.

No library is imported here: `dasc --help` and a wrong command are answered at once.
"""

import atexit
import gc
import sys
from collections.abc import Sequence
from typing import Any

from dasc.cli.main_help import main_parser
from dasc.cli.quiet import hide_warnings
from dasc.cli.registry import COMMANDS
from dasc.errors import STATUS, StoppedError, UserError, unknown_name
from dasc.failures import report, without_debug


def main(args: Sequence[str] | None = None) -> None:
    """Run `dasc`; an error is one sentence on stderr, with exit status 2 for a user's mistake and 1 for all else.

    `--debug`, anywhere among the words, shows the traceback of an error.

    Args:
        args: The words after `dasc`; None takes those of the process.
    """
    hide_warnings()
    if args is None:  # the process ends with this command: without a search for garbage, seconds earlier
        atexit.register(gc.freeze)
    words, debug = without_debug(sys.argv[1:] if args is None else args)
    try:
        run(args)
    except StoppedError as stop:
        from lightning.pytorch.utilities import rank_zero_only

        rank_zero_only(print)(f"{_prefix(words)}: {stop.message}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print(f"{_prefix(words)}: {_interrupted(words)}", file=sys.stderr)
        sys.exit(STATUS["Ctrl-C"])
    except Exception as error:
        sys.exit(report(error, _prefix(words), words, debug))


def run(args: Sequence[str] | None = None) -> Any:
    """Run one of `COMMANDS` and return what it returns; errors are raised.

    Args:
        args: The words after `dasc`; None takes those of the process.

    Raises:
        UserError: There is no such command.
    """
    words = without_debug(sys.argv[1:] if args is None else args)[0]
    first = words[0] if words else ""
    if first in COMMANDS:
        command = COMMANDS[first].load()
        if args is not None and len(sys.argv) > 1:
            _warn_of_arguments(words)
        return command(words[1:])
    if _is_before_command(first):
        from dasc.cli.before import run_with_options_before

        return run_with_options_before(words)
    if first and not first.startswith("-"):
        raise UserError(_unknown_command(first))
    parser = main_parser()
    parser.parse_args(words)
    parser.print_help(sys.stderr)
    sys.exit(2)


def _is_before_command(word: str) -> bool:
    """Return whether a word is an option that may be before the command, as in `dasc --config FILE fit`."""
    return word.startswith("-c") or word.partition("=")[0] in ("--config", "--print_config")


def _unknown_command(word: str) -> str:
    text = unknown_name("command", word, COMMANDS)
    return f"{text} Commands are {', '.join(COMMANDS)}" if text.endswith("?") else text


def _warn_of_arguments(words: Sequence[str]) -> None:
    from lightning.pytorch.utilities import rank_zero_warn

    rank_zero_warn(
        "dasc was called with arguments of its own, but processes for further devices are started with those of "
        f"this process: sys.argv[1:]={sys.argv[1:]}, args={list(words)}"
    )


def _prefix(words: Sequence[str]) -> str:
    """Return the command as far as its words are known, such as `dasc study plan`."""
    known = [word for word in words[:1] if word in COMMANDS]
    if known == ["study"]:
        from dasc.cli import study

        known += study.known(words[1:2])
    return " ".join(["dasc", *known])


def _interrupted(words: Sequence[str]) -> str:
    """Return what Ctrl-C stopped, and how to resume it."""
    if words[:2] == ["study", "run"]:
        return "interrupted: the same command resumes the study"
    return "interrupted before the training started" if words[:1] == ["fit"] else "interrupted"
