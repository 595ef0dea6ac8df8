"""Latencies of an export: the files and the network beside the dense network of the same architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

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

DENSE, NETWORK = "dense network", "network"
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
        gain: What zeros and int8 change.
    """

    latencies: tuple[LatencyFacts, ...]
    table: tuple[str, ...]
    gain: str


def measure_export(
    model: Model,
    images: Tensor,
    files: Mapping[str, Path],
    onnx: Format | None,
    threads: int,
    seconds: float,
    sparse_share: float | None = None,
) -> Measurement:
    """Measure a network and its ONNX files beside the same network without zeros.

    Args:
        model: The network.
        images: At least as many images as the largest of `BATCHES`, as the files take them.
        files: ONNX files, by `onnx` and `int8`.
        onnx: The format ONNX; None if there is no ONNX file.
        threads: Threads of one forward pass.
        seconds: Time of the whole measurement.
        sparse_share: Bytes of the sparse file by those of the dense one; None if there is no sparse file.
    """
    dense = replace(model, network=dense_like(model.network))
    with TemporaryDirectory(prefix="dasc-latency-") as folder, torch_threads(threads):
        runs: dict[Row, Run] = {}
        sizes: dict[Row, int] = {}
        if onnx is not None:
            beside = Path(folder, f"dense{onnx.suffix}")
            onnx.write(dense, beside)
            for name, path in {DENSE: beside, **{path.name: path for path in files.values()}}.items():
                row = Row(name, ONNX_RUNTIME)
                runs[row], sizes[row] = onnx.open(path, threads), path.stat().st_size
        runs[Row(DENSE, PYTORCH)] = run_of_network(dense.module())
        runs[Row(NETWORK, PYTORCH)] = run_of_network(model.module())
        candidates: dict[tuple[Row, int], Callable[[], object]] = {
            (row, batch): call for row, run in runs.items() for batch, call in runs_of(run, images).items()
        }
        found = measure(candidates, seconds)
    rows = {row: Measured(_title(row), sizes.get(row), _of(found, row)) for row in runs}
    has_graph = onnx is not None
    reference = rows[Row(DENSE, ONNX_RUNTIME if has_graph else PYTORCH)]
    float32 = rows[Row(files["onnx"].name, ONNX_RUNTIME) if has_graph else Row(NETWORK, PYTORCH)]
    int8 = rows[Row(files["int8"].name, ONNX_RUNTIME)] if "int8" in files else None
    return Measurement(
        tuple(_facts(row, batch, threads, latency) for (row, batch), latency in found.items()),
        tuple(latency_table([*rows.values()])),
        gain_line(reference, float32, int8, sparse_share),
    )


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
