"""Holds back what Lightning tells while a run is set up."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

_LOGGERS = ("lightning.fabric", "lightning.pytorch")


@contextmanager
def hold_information() -> Iterator[None]:
    """Hold back information, such as the devices that are found, until the block ends; an error discards it.

    A warning or an error that is logged shows at once, with the information before it.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
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
