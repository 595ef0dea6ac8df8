"""Parser and texts of `dasc --help` and `dasc --version`, without a library."""

import argparse

from dasc import __version__
from dasc.arguments import ArgumentParser
from dasc.cli.registry import COMMANDS

ABOUT = """\
Data augmentation schedules for compression: trains image classifiers through a
table of stages, each with its own sparsity and its own strength of RandAugment.

commands:
{commands}

Options of a command: dasc COMMAND --help, such as dasc fit --help.
Many runs from one file: dasc study plan|run|status|report|magnitudes FILE.
Configs to start from: dasc configs DIR."""


def main_parser() -> argparse.ArgumentParser:
    """Return the parser of options without a command: `--help` and `--version`."""
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{entry.summary}" for name, entry in COMMANDS.items())
    parser = ArgumentParser(
        prog="dasc",
        usage="dasc COMMAND [options]",
        description=ABOUT.format(commands=commands),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="Show this help message and exit.")
    parser.add_argument("--version", action="version", version=f"dasc {__version__}", help="Print version and exit.")
    return parser
