"""`dasc study`: a command with subcommands and a parser of its own."""

from collections.abc import Sequence

from dasc.study.entry import study
from dasc.study.options import COMMANDS


def run(words: Sequence[str]) -> None:
    """Run `dasc study WORDS`."""
    study(words)


def known(words: Sequence[str]) -> list[str]:
    """Return the words that name a subcommand of `dasc study`."""
    return [word for word in words if word in COMMANDS]
