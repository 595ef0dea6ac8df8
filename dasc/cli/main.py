"""Dispatch of `dasc COMMAND`, and how errors are shown.

No library is imported here: `dasc --help` and a wrong command are answered at once.
"""

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from dasc.cli.main_help import main_parser
from dasc.cli.registry import COMMANDS
from dasc.errors import STATUS, StoppedError, UserError, unknown_name


def main(args: Sequence[str] | None = None) -> None:
    """Run `dasc`; a user's mistake is one sentence on stderr and exit status 2.

    Args:
        args: The words after `dasc`; None takes those of the process.
    """
    _hide_warnings()
    words = list(sys.argv[1:] if args is None else args)
    try:
        run(args)
    except StoppedError as stop:
        from lightning.pytorch.utilities import rank_zero_only

        rank_zero_only(print)(f"{_prefix(words)}: {stop.message}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print(f"{_prefix(words)}: interrupted before the training started", file=sys.stderr)
        sys.exit(STATUS["Ctrl-C"])
    except Exception as error:
        mistake = _sentence(error)
        if mistake is None:
            raise
        print(f"{_prefix(words)}: {mistake}", file=sys.stderr)
        sys.exit(2)


def run(args: Sequence[str] | None = None) -> Any:
    """Run one of `COMMANDS` and return what it returns; errors are raised.

    Args:
        args: The words after `dasc`; None takes those of the process.

    Raises:
        UserError: There is no such command.
    """
    words = list(map(str, sys.argv[1:] if args is None else args))
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


def _sentence(error: Exception) -> str | None:
    """Return the user's mistake; the other errors are those of libraries, which are imported to tell them apart."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    from dasc.messages import sentence

    return sentence(error)


def _prefix(words: Sequence[str]) -> str:
    """Return the command as far as its words are known, such as `dasc study plan`."""
    known = [word for word in words[:1] if word in COMMANDS]
    if known == ["study"]:
        from dasc.cli import study

        known += study.known(words[1:2])
    return " ".join(["dasc", *known])


def _hide_warnings() -> None:
    """Hide warnings that ask nothing of a user of dasc."""
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)  # Lightning 2.6 on torch 2.15
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # resident data sets have none
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # of a resumed run
    warnings.filterwarnings("ignore", message=".*when logging on epoch level in distributed.*")  # metrics are reduced
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")  # a loss scaler skips first steps
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith("💡")
    )
