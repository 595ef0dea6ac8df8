"""Warnings and information of libraries that a user need not act on."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from logging.handlers import MemoryHandler

_HIDDEN = (
    (r".*LeafSpec.*", FutureWarning),  # Lightning 2.6 on torch 2.15
    (r".*does not have many workers.*", Warning),  # resident data sets have none
    (r"Checkpoint directory .* exists and is not empty", Warning),  # of a resumed run
    (r".*when logging on epoch level in distributed.*", Warning),  # the values are reduced before they are logged
    (r"Detected call of `lr_scheduler.step", Warning),  # a loss scaler skips first steps
)


def hide_warnings() -> None:
    """Hide warnings and tips that ask nothing of a user of dasc."""
    for message, category in _HIDDEN:
        warnings.filterwarnings("ignore", message=message, category=category)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)  # a filter is added only once


def _is_no_tip(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("\N{ELECTRIC LIGHT BULB}")


@contextlib.contextmanager
def hide_information(hidden: bool) -> Iterator[None]:
    """Hide what Lightning logs below the level of a warning.

    Args:
        hidden: False to hide nothing.
    """
    loggers = _lightning_loggers()
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers if hidden else []:
            logger.setLevel(logging.WARNING)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def hold_information() -> Iterator[None]:
    """Hold back information, such as the devices that are found, until the block ends; an error discards it.

    A warning or an error that is logged shows at once, with the information before it.
    """
    loggers = _lightning_loggers()
    before = {logger: list(logger.handlers) for logger in loggers}
    held = [MemoryHandler(10_000, logging.WARNING, handler, False) for logger in loggers for handler in logger.handlers]
    for logger in loggers:
        logger.handlers = [handler for handler in held if handler.target in before[logger]]
    try:
        yield
        for handler in held:
            handler.flush()
    finally:
        for logger in loggers:
            logger.handlers = before[logger]


def _lightning_loggers() -> list[logging.Logger]:
    return [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]


@contextlib.contextmanager
def hide_output(hidden: bool) -> Iterator[None]:
    """Hide what is printed to standard output.

    Args:
        hidden: False to hide nothing.
    """
    if not hidden:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
