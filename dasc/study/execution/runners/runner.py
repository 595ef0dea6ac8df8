"""Interface of the places where runs are trained."""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from dasc.study.plan import Run


@dataclass(frozen=True)
class Work:
    """Unfinished runs, the folder of their study, and the CPU threads of each."""

    results: Path
    runs: Sequence[Run]
    threads: int


class Runner(Protocol):
    """Carries out runs. A new runner is a class in a file of this folder, and its line in `RUNNERS`."""

    slots: int | None
    """Number of runs that it takes at a time; None for any number."""

    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Options that only this runner has, with their settings of argparse; their default must be None."""

    @classmethod
    def check(cls, given: argparse.Namespace) -> None:
        """Check options before anything is written; a UserError says what is wrong."""
        return None

    @classmethod
    def make(cls, given: argparse.Namespace, work: Work) -> Self:
        """Make the runner from options; a UserError says why it cannot be used."""

    def submit(self, run: Run) -> "Future[str | None]":
        """Take a run; the result is its error, None if it is finished."""

    def stop(self) -> None:
        """Stop what is being carried out at once; finished epochs are kept."""
