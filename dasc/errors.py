"""Errors that end in one sentence: what a user got wrong, and a training that was stopped."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user wrote: the command prints the message and exits with 2, without a traceback.

    Not a ValueError: jsonargparse would take that for a value of another type, and bury the sentence.
    """


STATUS = {"SIGTERM": 143, "Ctrl-C": 130}
"""Exit status by what stopped the training: 128 + the number of the signal, as a shell reports it."""


class StoppedError(SystemExit):
    """The end of a training that was stopped by a signal.

    Args:
        signal: `SIGTERM` or `Ctrl-C`.
        message: How far the training is, in one sentence.
    """

    def __init__(self, signal: str, message: str = "") -> None:
        super().__init__(STATUS[signal])
        self.signal = signal
        self.message = message or f"stopped by {signal}"

    def __str__(self) -> str:
        return self.message


def one_line(text: object) -> str:
    """Return the text of an object, such as an error, with all white space as single spaces."""
    return " ".join(str(text).split())


def unknown_name(what: str, given: str, names: Iterable[str], of: str = "") -> str:
    """Say that `given` is no known name, with the nearest one or, where none is near, all of them.

    Args:
        what: What the name is one of, such as `data set`.
        given: The name.
        names: The known names.
        of: The option that has the name as its value, if `what` does not tell.
    """
    names = sorted(names)
    near = get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names) or 'none'}"
    return f"unknown {what} '{given}'{f' for {of}' if of else ''}: {hint}"
