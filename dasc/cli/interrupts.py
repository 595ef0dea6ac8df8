"""Ctrl-C and SIGTERM in a command that trains nothing."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dasc.errors import STATUS


@contextmanager
def exits_on_signals(message: str) -> Iterator[None]:
    """End the process after Ctrl-C, with a message, and after SIGTERM; temporary files are removed before.

    Args:
        message: What the user is told after Ctrl-C.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(STATUS["SIGTERM"]))
    try:
        yield
    except KeyboardInterrupt:
        print(message, file=sys.stderr)
        sys.exit(STATUS["Ctrl-C"])
    finally:
        signal.signal(signal.SIGTERM, before)
