"""A command that ends in one sentence."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def nothing(folder: Path) -> None:
    """Prepare no files."""


@dataclass(frozen=True)
class Case:
    """A command that a user got wrong, and the sentence that it prints.

    Args:
        words: The words after `dasc`, split at spaces unless they are in quotes; `{config}` is the path of a config
            with three short stages on the digits.
        says: Parts of the sentence on stderr.
        prepare: Writes the files that the command reads into its working directory.
        status: Exit status.
        environment: Environment variables.
    """

    words: str
    says: tuple[str, ...]
    prepare: Callable[[Path], None] = nothing
    status: int = 2
    environment: dict[str, str] = field(default_factory=dict)
