"""A command of `dasc`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace

from dasc.parser import Parser


@dataclass(frozen=True)
class Command:
    """A command of `dasc`; `dasc.cli.main.COMMANDS` has all.

    Args:
        name: The word after `dasc`.
        summary: One sentence for `dasc --help`.
        make_parser: Returns the parser of the command's options.
        run: Runs the command, given that parser, the options that it parsed, and all words after `dasc`. Returns an
            object for callers in Python.
    """

    name: str
    summary: str
    make_parser: Callable[[], Parser]
    run: Callable[[Parser, Namespace, Sequence[str]], Any]
