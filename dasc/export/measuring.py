"""Latencies of an export: the files and the network beside the dense network of the same architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dasc.export.card import LatencyFacts
from dasc.export.format import Format, Model, Run
from dasc.export.latency import (
    BATCHES,
    Latency,
    Measured,
    dense_like,
    gain_line,
    latency_table,
    measure,
    run_of_network,
    runs_of,
    torch_threads,
)
from dasc.networks import prunable_weights

DENSE, WITHOUT_ZEROS, NETWORK = "dense network", "network without zeros", "network"
"""Names of rows that are not files."""
ONNX_RUNTIME, PYTORCH = "ONNX Runtime", "PyTorch"


class Row(NamedTuple):
    """What is measured."""

    name: str
    runtime: str


@dataclass(frozen=True)
class Measurement:
    """Latencies of an export.

    Args:
        latencies: The latencies, for the card.
        table: Lines of their table.
        gain: What removed channels, zeros and int8 change.
    """

    latencies: tuple[LatencyFacts, ...]
    table: tuple[str, ...]
    gain: str


def measure_export(
    model: Model,
    original: nn.Module | None,
    images: Tensor,
    files: Mapping[str, Path],
    onnx: Format | None,
    threads: int,
    seconds: float,
    sparse_share: float | None = None,
) -> Measurement:
    """Measure a network and its ONNX files beside the same network without zeros, and the one with all channels.

    Args:
        model: The network.
        original: The dense network with all its channels; None if `model` has them all.
        images: At least as many images as the largest of `BATCHES`, as the files take them.
        files: ONNX files, by `onnx` and `int8`.
        onnx: The format ONNX; None if there is no ONNX file.
        threads: Threads of one forward pass.
        seconds: Time of the whole measurement.
        sparse_share: Bytes of the sparse file by those of the dense one; None if there is no sparse file.
    """
    others = _others(model, original)
    with TemporaryDirectory(prefix="dasc-latency-") as folder, torch_threads(threads):
        runs: dict[Row, Run] = {}
        sizes: dict[Row, int] = {}
        paths = {path.name: path for path in files.values()}
        if onnx is not None:
            for name, other in others.items():
                onnx.write(other, Path(folder, f"{name}{onnx.suffix}"))
            paths = {name: Path(folder, f"{name}{onnx.suffix}") for name in others} | paths
            for name, path in paths.items():
                row = Row(name, ONNX_RUNTIME)
                runs[row], sizes[row] = onnx.open(path, threads), path.stat().st_size
        for name, other in {**others, NETWORK: model}.items():
            runs[Row(name, PYTORCH)] = run_of_network(other.module())
        candidates: dict[tuple[Row, int], Callable[[], object]] = {
            (row, batch): call for row, run in runs.items() for batch, call in runs_of(run, images).items()
        }
        found = measure(candidates, seconds)
    rows = {row: Measured(_title(row), sizes.get(row), _of(found, row)) for row in runs}
    runtime = PYTORCH if onnx is None else ONNX_RUNTIME
    float32 = rows[Row(NETWORK if onnx is None else files["onnx"].name, runtime)]
    int8 = rows[Row(files["int8"].name, runtime)] if "int8" in files else None
    without_zeros = rows.get(Row(_without_zeros(original), runtime))
    dense = None if original is None else rows[Row(DENSE, runtime)]
    return Measurement(
        tuple(_facts(row, batch, threads, latency) for (row, batch), latency in found.items()),
        tuple(latency_table([*rows.values()])),
        gain_line(float32, without_zeros, dense, int8, sparse_share),
    )


def _others(model: Model, original: nn.Module | None) -> dict[str, Model]:
    """Return the networks beside which a network is measured, by the names of their rows."""
    others = {} if original is None else {DENSE: replace(model, network=original)}
    if any(bool((weight == 0).any()) for weight in prunable_weights(model.network).values()):
        others[_without_zeros(original)] = replace(model, network=dense_like(model.network))
    return others


def _without_zeros(original: nn.Module | None) -> str:
    """Return the name of the network of the same shapes without zeros."""
    return DENSE if original is None else WITHOUT_ZEROS


def _title(row: Row) -> str:
    return f"{row.name} ({row.runtime})"


def _of(found: Mapping[tuple[Row, int], Latency], row: Row) -> dict[int, Latency]:
    return {batch: found[row, batch] for batch in BATCHES}


def _facts(row: Row, batch: int, threads: int, latency: Latency) -> LatencyFacts:
    times = (latency.median_ms, latency.lower_ms, latency.upper_ms)
    return LatencyFacts(row.name, row.runtime, batch, threads, *times, latency.repeats)


def enough(images: Tensor, count: int = max(BATCHES)) -> Tensor:
    """Return `count` images: the given ones, (N, 3, H, W), again and again."""
    return torch.cat([images] * -(-count // len(images)))[:count]
