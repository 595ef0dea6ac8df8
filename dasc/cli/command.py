"""A command of `dasc` on the config of a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace

from dasc.cli.class_help import class_help
from dasc.parser import Parser
from dasc.stopping import exit_status_of_signals


@dataclass(frozen=True)
class Command:
    """A command on the config of a training; `dasc.cli.registry.COMMANDS` has all commands.

    Args:
        name: The word after `dasc`.
        summary: One sentence on the command.
        make_parser: Returns the parser of the command's options.
        run: Runs the command, given that parser, the options that it parsed, and all words after `dasc`. Returns an
            object for callers in Python.
        flags: Words that `run` looks for itself. They are no part of the config, nor of config.yaml.
    """

    name: str
    summary: str
    make_parser: Callable[[], Parser]
    run: Callable[[Parser, Namespace, Sequence[str]], Any]
    flags: tuple[str, ...] = ()

    def __call__(self, words: Sequence[str]) -> Any:
        """Parse the words after the command and run it; errors are raised."""
        parser = self.make_parser()
        text = class_help(parser, words)
        if text is not None:
            print(text, end="")
            return None
        config = parser.parse_args(self.without_flags(words))
        with exit_status_of_signals():
            return self.run(parser, config, [self.name, *words])

    def without_flags(self, words: Sequence[str]) -> list[str]:
        """Return the words that the parser reads."""
        return [word for word in words if word not in self.flags]
