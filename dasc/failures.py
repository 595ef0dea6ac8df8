"""General net: an exception that no check foresaw ends in one sentence, and its traceback in a file."""

import os
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from dasc.errors import UserError, one_line

DEBUG = "--debug"
"""The option, in any place after `dasc`, that shows tracebacks. It is no option of a parser, so it is in no config."""

_PACKAGE = Path(__file__).parent
_BUGS = (AssertionError, LookupError, TypeError, AttributeError, NameError, ZeroDivisionError, NotImplementedError)
"""Errors that are bugs of dasc where one of its own frames raises them; others can be the system's or torch's."""

_LIBRARIES = re.compile(r"(torch|lightning|torchmetrics|jsonargparse|dasc)(\.|$)")


_PATIENCE = 5.0
"""Seconds that a process waits for the first process to fail, too."""


class Failure(NamedTuple):
    """The end of a command by an exception."""

    sentence: str
    status: int
    """2 for a user's mistake, 1 for all else."""
    keep_traceback: bool
    """Whether the traceback is needed to understand it."""


class Origin(NamedTuple):
    """The object that raised an exception."""

    option: str
    """The option that names its class, such as `model.network`."""
    place: str
    """Its method, such as `MyNetwork.forward`."""


def without_debug(words: Sequence[str]) -> tuple[list[str], bool]:
    """Return the words of a command without `--debug`, and whether it was among them."""
    kept = [str(word) for word in words if word != DEBUG]
    return kept, len(kept) < len(words)


def report(error: Exception, prefix: str, words: Sequence[str], debug: bool) -> int:
    """Print an exception as one sentence on stderr and, where that is not enough, write its traceback to a file.

    Processes other than the first of a training do not repeat a user's mistake, which all of them find, and no other
    error if the first process has one, too.

    Args:
        error: The exception.
        prefix: The command as far as it is known, such as `dasc fit`.
        words: The words after `dasc`, for the file.
        debug: Whether the traceback is printed, in place of the file.

    Returns:
        The exit status: 2 for a user's mistake, 1 for all else.
    """
    failure, rank = explain(error), int(os.environ.get("LOCAL_RANK", "0"))
    if rank and (failure.status == 2 or _is_lost_connection(error)):
        return failure.status
    if rank and not debug and _first_process_tells():
        return failure.status
    process = f"process {rank}: " if rank else ""
    if debug:
        traceback.print_exception(error)
    where = _where(error, words) if failure.keep_traceback and not debug else ""
    print(f"{prefix}: {process}{failure.sentence}{where}", file=sys.stderr)
    return failure.status


def explain(error: BaseException) -> Failure:
    """Return an exception as a sentence, with the option that it came from where that is known."""
    if isinstance(error, UserError):
        return Failure(one_line(error), 2, False)
    from dasc.messages import sentence  # imports every library, which takes seconds

    known = sentence(error)
    if known is not None:
        return Failure(known, 2, False)
    cause = list(_shown_causes(error))[-1]
    frame = _innermost(cause)
    text = f"{type(cause).__name__}: {first_sentence(str(cause))}" if str(cause) else type(cause).__name__
    if frame is not None and isinstance(cause, _BUGS) and _PACKAGE in Path(frame.f_code.co_filename).parents:
        module = Path(frame.f_code.co_filename).relative_to(_PACKAGE.parent)
        return Failure(f"an error inside dasc, please report it ({text}, in {module}, line {frame.f_lineno})", 1, True)
    origin = origin_of(cause)
    if origin is None:
        return Failure(text, 1, True)
    made = _is_made_from_config(error)
    rule = "must be made without an error" if made else "must work without an error"
    return Failure(f"{origin.option} {rule}, got one in {origin.place}: {text}", 2 if made else 1, True)


def first_sentence(text: str) -> str:
    """Return the first sentence of a message in one line, at most 300 characters of it."""
    line = one_line(text)
    first = re.split(r"(?<=[a-z)\]'`\"])[.!] +(?=[A-Z])", line)[0].rstrip(".")
    return first if len(first) <= 300 else f"{first[:297]}..."


def origin_of(error: BaseException) -> Origin | None:
    """Return which object of the config raised an error: the innermost that is not a part of a library."""
    found: Origin | None = None
    for frame in _frames(error):
        owner = frame.f_locals.get("self", frame.f_locals.get("cls"))
        kind = owner if isinstance(owner, type) else type(owner)
        option = next((name for name, base in _bases() if issubclass(kind, base)), None)
        is_inner = found is not None and _LIBRARIES.match(kind.__module__) is not None
        if option is not None and not is_inner:
            found = Origin(option, f"{kind.__name__}.{frame.f_code.co_name}")
    return found


def _bases() -> Iterator[tuple[str, type]]:
    """Yield the options that name classes with the base class of each, where it was imported; subclasses come first."""
    for option, module, name in (
        ("model", "lightning.pytorch", "LightningModule"),
        ("data", "lightning.pytorch", "LightningDataModule"),
        ("trainer.callbacks", "lightning.pytorch", "Callback"),
        ("trainer.logger", "lightning.pytorch.loggers", "Logger"),
        ("trainer.profiler", "lightning.pytorch.profilers", "Profiler"),
        ("trainer.strategy", "lightning.pytorch.strategies", "Strategy"),
        ("model.optimizer", "torch.optim", "Optimizer"),
        ("model.network", "torch.nn", "Module"),
    ):
        base = getattr(sys.modules.get(module), name, None)
        if isinstance(base, type):
            yield option, base


def _is_made_from_config(error: BaseException) -> bool:
    """Return whether an error was raised while a config's classes were made."""
    return any(
        frame.f_code.co_name == "instantiate_classes" and "jsonargparse" in frame.f_code.co_filename
        for frame in _frames(error)
    )


def _shown_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, as a traceback shows them."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _innermost(error: BaseException) -> FrameType | None:
    frames = _frames(error)
    return frames[-1] if frames else None


def _is_lost_connection(error: BaseException) -> bool:
    """Return whether another process of a training has ended, which tells of its error itself."""
    return re.search(r"connection (closed|reset)|broken pipe", str(error), re.IGNORECASE) is not None


def _first_process_tells() -> bool:
    """Wait shortly for the first process, which started this one, to write its own traceback."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if any(Path(tempfile.gettempdir()).glob(f"{_file_prefix(os.getppid())}*")):
            return True
        time.sleep(0.1)
    return False


def _file_prefix(pid: int) -> str:
    return f"dasc-{pid}-"


def _where(error: BaseException, words: Sequence[str]) -> str:
    """Write the traceback to a file of its own, and return how to find it."""
    head = f"dasc {' '.join(words)}\n{platform.platform()}, Python {platform.python_version()}\n\n"
    try:
        number, path = tempfile.mkstemp(prefix=_file_prefix(os.getpid()), suffix=".txt")
        with os.fdopen(number, "w") as file:
            file.write(head + "".join(traceback.format_exception(error)))
    except OSError:
        return f" (add {DEBUG} to see the traceback)"
    return f" (the traceback is in {path}; {DEBUG} shows it)"
