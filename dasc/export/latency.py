"""Latency of exported files and networks, and what zeros and int8 change in it."""

import copy
import gc
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dasc.export.format import Run
from dasc.networks.counts import prunable_weights

BATCHES = (1, 64)
"""Batch sizes that are measured."""

LATENCY_NOTE = "ms: median (first to third quartile)"

_MAX_CALLS = 50
"""Calls in one turn of a candidate."""

_SPEEDUP = 0.9
"""Factor of the time below which zeros count as a speed-up: two sessions of one file differ by several percent."""

_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass.

    Args:
        median_ms: Median, in milliseconds.
        lower_ms: First quartile.
        upper_ms: Third quartile.
        repeats: Number of timed calls.
    """

    median_ms: float
    lower_ms: float
    upper_ms: float
    repeats: int

    def overlaps(self, other: "Latency") -> bool:
        """Return whether the quartile intervals have a value in common."""
        return self.lower_ms <= other.upper_ms and other.lower_ms <= self.upper_ms


@dataclass(frozen=True)
class Measured:
    """A file or network with its latencies.

    Args:
        name: Name of the file, or of the network and its runtime.
        size: Bytes of the file; None for a network in memory.
        latencies: Latencies by batch size.
    """

    name: str
    size: int | None
    latencies: Mapping[int, Latency]


def measure(
    runs: Mapping[_K, Callable[[], object]],
    seconds: float = 10.0,
    rounds: int = 20,
    min_rounds: int = 5,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[_K, Latency]:
    """Measure calls in turns, so that other load on the machine affects all of them alike.

    In each round every candidate has one turn: an untimed call, since the others used the caches, and timed ones. The
    numbers of rounds and calls follow from the duration of the second call of each.

    Args:
        runs: The candidates.
        seconds: Time that the whole may take, over 0. It takes longer only where `min_rounds` rounds do.
        rounds: Largest number of rounds.
        min_rounds: Smallest number of rounds, at least 1.
        clock: Returns nanoseconds.

    Returns:
        The latencies by the keys of `runs`.
    """
    with _without_gc():
        first = {name: _durations(run, 1, clock)[0] for name, run in runs.items()}
        rounds = min(rounds, max(min_rounds, int(seconds * 1e9 / (2 * sum(first.values()) or 1))))
        turn = seconds * 1e9 / (rounds * max(len(runs), 1))
        calls = {name: min(max(int(turn / max(time, 1)) - 1, 1), _MAX_CALLS) for name, time in first.items()}
        times: dict[_K, list[int]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name] += _durations(run, calls[name], clock)
    return {name: summarise(durations) for name, durations in times.items()}


def summarise(durations: Sequence[int]) -> Latency:
    """Return the median and the quartiles of durations in nanoseconds; there must be at least one."""
    lower, middle, upper = (float(value) / 1e6 for value in np.percentile(durations, (25, 50, 75)))
    return Latency(middle, lower, upper, len(durations))


def _durations(run: Callable[[], object], count: int, clock: Callable[[], int]) -> list[int]:
    """Return the durations of `count` calls after an untimed one."""
    run()
    durations = []
    for _ in range(count):
        start = clock()
        run()
        durations.append(clock() - start)
    return durations


def runs_of(run: Run, images: Tensor, batches: Sequence[int] = BATCHES) -> dict[int, Callable[[], object]]:
    """Return a candidate for each batch size.

    Args:
        run: The file, from `Format.open` with the threads of the measurement, or a network, from `run_of_network`.
        images: At least `max(batches)` images as `run` takes them.
        batches: The batch sizes.
    """
    return {batch: partial(run, images[:batch].contiguous()) for batch in batches}


def run_of_network(network: nn.Module) -> Run:
    """Return the forward pass of a network in torch's inference mode; its threads are those of `torch_threads`."""

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            outputs: Tensor = network(images)
            return outputs

    return run


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use a number of threads of one forward pass inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def dense_like(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy of a network without zeros in its convolutions and linear layers, and of the same shapes.

    Random values replace the zeros; they have the standard deviation of the other weights of their layer.

    Args:
        network: The network.
        seed: Seed of the values.
    """
    dense = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in prunable_weights(dense).values():
            zeros = weight == 0
            others = weight[~zeros]
            scale = others.std().item() if len(others) > 1 else 0.0
            values = torch.randn(int(zeros.sum()), generator=generator) * (scale or 0.01)
            weight[zeros] = values.to(weight.device, weight.dtype)
    return dense


def latency_table(rows: Sequence[Measured]) -> list[str]:
    """Return the lines of a table: name, bytes, and the median and the quartiles of each batch size in milliseconds."""
    batches = sorted({batch for row in rows for batch in row.latencies})
    cells = [["file", "bytes", *(f"batch {batch}, ms" for batch in batches)]]
    for row in rows:
        size = "" if row.size is None else f"{row.size:,}"
        cells.append(
            [
                row.name,
                size,
                *(latency_text(row.latencies[batch]) if batch in row.latencies else "" for batch in batches),
            ]
        )
    return [*aligned(cells), LATENCY_NOTE]


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of rows of equal length; the first column is left-aligned, the others right-aligned.

    Args:
        cells: The rows, at least one; the first one has the titles.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in cells
    ]


def gain_line(
    float32: Measured,
    without_zeros: Measured | None = None,
    original: Measured | None = None,
    int8: Measured | None = None,
    sparse_share: float | None = None,
) -> str:
    """Return what removed channels, zeros and int8 each change in time and bytes, in one line.

    Each is compared with the network before it. A factor is given only where the quartile intervals of two latencies
    have no value in common.

    Args:
        float32: The network, in the same runtime as the others.
        without_zeros: The network of the same shapes without zeros; None if it has no zeros.
        original: The dense network with all its channels; None if none were removed.
        int8: The quantised network.
        sparse_share: Bytes of the sparse file by those of the dense one of the same format.

    Returns:
        The line; empty if there is nothing to compare.
    """
    parts = []
    if original is not None:
        parts.append(_gain("channels", without_zeros or float32, original, "the dense network"))
    if without_zeros is not None:
        name = "the dense network" if original is None else "the network without zeros"
        factors = _factors(float32, without_zeros)
        part = f"zeros: {_comparison(factors, name)}"
        if not any(factor is not None and factor < _SPEEDUP for factor in factors.values()):
            part += " (no speed from zeros)"
        parts.append(
            part + ("" if sparse_share is None else f", {_percent(sparse_share)} of its bytes as a sparse file")
        )
    if int8 is not None:
        parts.append(_gain("int8", int8, float32, "the float32 file"))
    return "; ".join(parts)


def _gain(name: str, row: Measured, reference: Measured, text: str) -> str:
    part = f"{name}: {_comparison(_factors(row, reference), text)}"
    return part + (f", {_percent(row.size / reference.size)} of its bytes" if row.size and reference.size else "")


def _factors(row: Measured, reference: Measured) -> dict[int, float | None]:
    """Return the time by that of the reference for each batch size of both; see `_factor`."""
    common = sorted(row.latencies.keys() & reference.latencies.keys())
    return {batch: _factor(row.latencies[batch], reference.latencies[batch]) for batch in common}


def _comparison(factors: Mapping[int, float | None], reference: str) -> str:
    """Return factors by batch size in words."""
    if not any(factors.values()):
        return f"no measurable difference in time from {reference}"
    parts: list[str] = []
    for batch, factor in factors.items():
        part = "no measurable difference in time" if factor is None else f"{factor:.2f}x the time"
        if not parts:
            part += f" {'from' if factor is None else 'of'} {reference}"
        parts.append(f"{part} at batch {batch}")
    return ", ".join(parts)


def _factor(latency: Latency, reference: Latency) -> float | None:
    """Return the time by that of the reference; None if no difference is measurable."""
    factor = latency.median_ms / reference.median_ms
    return None if latency.overlaps(reference) or round(factor, 2) == 1 else factor


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def latency_text(latency: Latency) -> str:
    """Return the median and the quartiles of a latency in milliseconds."""
    values = (latency.median_ms, latency.lower_ms, latency.upper_ms)
    middle, lower, upper = (f"{value:.{3 if latency.median_ms < 10 else 1}f}" for value in values)
    return f"{middle} ({lower} to {upper})"


@contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the garbage collector from running inside the context."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
