"""Latencies of candidates, in one runtime where that is possible."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from torch import Tensor

from dasc.compare.candidate import Candidate
from dasc.errors import UserError
from dasc.export.format import Run
from dasc.export.formats import format_class
from dasc.export.latency import BATCHES, Latency, measure, runs_of, torch_threads
from dasc.export.measuring import ONNX_RUNTIME, PYTORCH, enough
from dasc.export.onnx_file import OnnxFormat

RUNTIMES = (ONNX_RUNTIME, PYTORCH)
"""Runtimes, the preferred one first."""

Latencies = Mapping[str, Mapping[int, Latency]]
"""Latencies of a candidate by runtime and batch size."""


class MeasuredCandidates(NamedTuple):
    """Latencies of several candidates."""

    latencies: list[Latencies]
    """In the order of the candidates."""
    notes: list[str]
    """Why a candidate was not measured in ONNX Runtime, one sentence each."""


def measure_candidates(
    candidates: Sequence[Candidate], images: Tensor, threads: int, seconds: float
) -> MeasuredCandidates:
    """Measure candidates in turns.

    ONNX files are run by ONNX Runtime. All others are run by PyTorch and, if the extra `export` is installed, also by
    ONNX Runtime from a temporary ONNX file.

    Args:
        candidates: The candidates.
        images: uint8 images (N, 3, H, W), N at least 1; they are repeated to fill a batch.
        threads: Threads of one forward pass.
        seconds: Time of the whole measurement, over 0.
    """
    with TemporaryDirectory(prefix="dasc-latency-") as folder, torch_threads(threads):
        runs, notes = _open(candidates, Path(folder), threads)
        calls: dict[tuple[int, str, int], Callable[[], object]] = {}
        for (place, runtime), run in runs.items():
            own = candidates[place].inputs(enough(images))
            calls |= {(place, runtime, batch): call for batch, call in runs_of(run, own).items()}
        found = measure(calls, seconds)
    latencies: list[Latencies] = [
        {
            runtime: {batch: found[place, runtime, batch] for batch in BATCHES}
            for runtime in RUNTIMES
            if (place, runtime) in runs
        }
        for place in range(len(candidates))
    ]
    return MeasuredCandidates(latencies, notes)


def common_runtime(latencies: Sequence[Latencies]) -> str | None:
    """Return the preferred runtime in which all candidates were measured; None if there is none."""
    return next((runtime for runtime in RUNTIMES if all(runtime in own for own in latencies)), None)


def _open(candidates: Sequence[Candidate], folder: Path, threads: int) -> tuple[dict[tuple[int, str], Run], list[str]]:
    """Return what is measured, by number of the candidate and runtime, and notes."""
    runs: dict[tuple[int, str], Run] = {}
    notes = []
    has_onnx = all(find_spec(package) is not None for package in OnnxFormat.packages)
    if not has_onnx:
        notes.append("latencies in ONNX Runtime need more packages: pip install 'dasc[export]'")
    for place, candidate in enumerate(candidates):
        if candidate.is_graph_of_onnx:
            kind = format_class("onnx", needed_by=str(candidate.path))()
            runs[place, ONNX_RUNTIME] = kind.open(candidate.path, threads)
            continue
        runs[place, PYTORCH] = candidate.run
        if has_onnx and candidate.model is not None:
            beside = folder / f"{place}.onnx"
            try:
                OnnxFormat().write(candidate.model, beside)
                runs[place, ONNX_RUNTIME] = OnnxFormat().open(beside, threads)
            except UserError as error:
                reason = str(error).rpartition(": ")[0] or str(error)  # without the remedy, which is that of an export
                notes.append(f"{candidate.name} is not measured in ONNX Runtime: {reason}")
    return runs, notes
