"""Estimate of the time that a training still takes."""

import time
from collections import deque
from collections.abc import Callable

RECENT = 5
"""Epochs that the estimate is taken from: stages differ in speed."""


class RemainingTime:
    """Estimates the rest of a training from the epochs that this process has trained, validation included.

    The first of them is used only until the second one is complete: it includes compilation and other start-up.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._first: tuple[float, float] | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def start(self) -> None:
        """Start to measure, as the training starts."""
        self._since = self._clock()

    def end_epoch(self, share: float) -> None:
        """Add an epoch that ends now, unless this process has trained less than half of it.

        Args:
            share: Share of it that this process has trained, in [0, 1]: below 1 if it was resumed within the epoch.
        """
        now = self._clock()
        measured = (now - self._since, share)
        self._since = now
        if share < 0.5:
            return
        if self._first is None:
            self._first = measured
        else:
            self._recent.append(measured)

    def seconds(self, epochs_left: float, share: float) -> float | None:
        """Return the seconds that the training still takes; None before anything is measured.

        Args:
            epochs_left: Epochs that are not trained yet, including the rest of the current one.
            share: Share of the current epoch that this process has trained, in [0, 1].
        """
        known = list(self._recent) or ([] if self._first is None else [self._first])
        if not known and share > 0:
            known = [(self._clock() - self._since, share)]
        if not known:
            return None
        return epochs_left * sum(seconds for seconds, _ in known) / sum(part for _, part in known)


def time_left(seconds: float) -> str:
    """Return seconds as `45 s left`, `12 min left`, `2 h 5 min left` or `3 d 2 h left`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s left"
    if minutes < 90:
        return f"{minutes} min left"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min left"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h left"
