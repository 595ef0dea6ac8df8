"""`dasc --config FILE COMMAND`: a config file whose keys are commands, before the command."""

from collections.abc import Sequence
from typing import Any

from dasc.cli.command import Command
from dasc.cli.registry import COMMANDS
from dasc.config import new_parser


def run_with_options_before(words: Sequence[str]) -> Any:
    """Run a command on a training's config, which is named after options or within a config file.

    Args:
        words: The words after `dasc`.
    """
    loaded = {name: entry.load_on_config() for name, entry in COMMANDS.items()}
    commands = {name: command for name, command in loaded.items() if isinstance(command, Command)}
    parser = new_parser(prog="dasc")
    subcommands = parser.add_subcommands()
    parsers = {name: command.make_parser() for name, command in commands.items()}
    for name, of_command in parsers.items():
        subcommands.add_subcommand(name, of_command)
    flags = {flag for command in commands.values() for flag in command.flags}
    config = parser.parse_args([word for word in words if word not in flags])
    name = config.subcommand
    return commands[name].run(parsers[name], config[name], words)
