"""The command `dasc`."""

import logging
import sys
import warnings
from collections.abc import Sequence

from lightning.pytorch.cli import ArgsType
from lightning.pytorch.utilities import rank_zero_only

from dasc.command import Command, run
from dasc.messages import sentence
from dasc.stopping import STATUS, StoppedError
from dasc.study.command import study
from dasc.study.options import COMMANDS


def main(args: ArgsType = None) -> None:
    """Run the command; a user's mistake is one sentence on stderr and exit status 2."""
    _quiet()
    given = list(sys.argv[1:] if args is None else args)
    try:
        if given[:1] == ["study"]:
            study(given[1:])
        else:
            run(args)
    except StoppedError as stop:
        rank_zero_only(print)(f"{_command(given)}: {stop.message}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print(f"{_command(given)}: interrupted before the training started", file=sys.stderr)
        sys.exit(STATUS["Ctrl-C"])
    except Exception as error:
        mistake = sentence(error)
        if mistake is None:
            raise
        print(f"{_command(given)}: {mistake}", file=sys.stderr)
        sys.exit(2)


def _command(given: Sequence[str]) -> str:
    """Return the command that was given, as far as it is one."""
    commands = [word for word in given[:1] if word == "study" or word in Command.subcommands()]
    if commands == ["study"]:
        commands += [word for word in given[1:2] if word in COMMANDS]
    return " ".join(["dasc", *commands])


def _quiet() -> None:
    """Hide what no user of dasc can act on."""
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)  # Lightning 2.6 on torch 2.15
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # resident data sets have none
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # of a resumed run
    warnings.filterwarnings("ignore", message=".*when logging on epoch level in distributed.*")  # metrics are reduced
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith("💡")
    )
