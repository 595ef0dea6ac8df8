"""The command `dasc`."""

from dasc.cli.main import main, run

__all__ = ["main", "run"]
