"""What the command says of an error: one sentence, the innermost reason."""

import re
from collections.abc import Iterator, Sequence
from inspect import isabstract
from typing import Any

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from dasc.data import ImageData
from dasc.errors import UserError, unknown_name
from dasc.modules import Classifier
from dasc.pruning import Criterion
from dasc.stopping import StoppedError
from dasc.system_errors import system_error


def sentence(error: BaseException) -> str | None:
    """Return what the user got wrong, in one sentence; None where the error is none of theirs."""
    if isinstance(error, StoppedError):
        return error.message
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return " ".join(str(cause).split())
    if (said := _of_system(chain)) is not None:
        return said
    if not isinstance(error, ArgumentError | MisconfigurationException):
        return None
    text = " ".join(str(chain[-1]).split())
    if unknown := re.search(r"Expected a dot import path string: (\S+)", text):
        return unknown_name("class", unknown[1], _known_classes())
    return text


def _of_system(chain: Sequence[BaseException]) -> str | None:
    """Return the innermost error of libraries and of the system whose remedy is known."""
    return next((said for cause in reversed(chain) if (said := system_error(cause)) is not None), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _known_classes() -> set[str]:
    """Return the names that a config may use without their module."""
    bases = (Classifier, ImageData, Criterion)
    ours = {kind.__name__ for base in bases for kind in (base, *_subclasses(base)) if not isabstract(kind)}
    networks = {kind.__name__ for kind in _subclasses(nn.Module) if kind.__module__.startswith("dasc.networks")}
    return {name for name in ours | networks if not name.startswith("_")} - {"BasicBlock"}


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
