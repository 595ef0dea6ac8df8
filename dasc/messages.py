"""What the command says of an error: one sentence, the innermost reason."""

from collections.abc import Iterator, Sequence

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dasc.errors import StoppedError, UserError, one_line
from dasc.system_errors import system_error


def sentence(error: BaseException) -> str | None:
    """Return what the user got wrong, in one sentence; None where the error is none of theirs."""
    if isinstance(error, StoppedError):
        return error.message
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return one_line(cause)
    if (said := _of_system(chain)) is not None:
        return said
    if not isinstance(error, ArgumentError | MisconfigurationException):
        return None
    return one_line(chain[-1])


def _of_system(chain: Sequence[BaseException]) -> str | None:
    """Return the innermost error of libraries and of the system whose remedy is known."""
    return next((said for cause in reversed(chain) if (said := system_error(cause)) is not None), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
