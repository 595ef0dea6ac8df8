"""What the command says of an error: one sentence, the innermost reason."""

from collections.abc import Iterator

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dasc.errors import StoppedError, UserError


def sentence(error: BaseException) -> str | None:
    """Return what the user got wrong, in one sentence; None where the error is none of theirs."""
    if isinstance(error, StoppedError):
        return error.message
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return " ".join(str(cause).split())
    if not isinstance(error, ArgumentError | MisconfigurationException):
        return None
    return " ".join(str(chain[-1]).split())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
