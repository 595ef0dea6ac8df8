"""A comparison as printed text and as the rows of a CSV file."""

from typing import Any

from dasc.compare.candidate import CHECKPOINT
from dasc.compare.comparison import Comparison, Row
from dasc.compare.latencies import RUNTIMES
from dasc.export.latency import BATCHES, LATENCY_NOTE, aligned, latency_text
from dasc.metrics import CONFIDENCE
from dasc.networks.counts import short

_TIMES = {"median_ms": "median_ms", "lower_ms": "first_quartile_ms", "upper_ms": "third_quartile_ms"}
"""End of a column's name by the attribute of a latency."""


def printed(comparison: Comparison) -> list[str]:
    """Return the lines of the tables, the paired comparison and the notes."""
    rows = comparison.rows
    titles = ["candidate", "accuracy, %", "ECE", "parameters", "non-zero", "MACs", "bytes"]
    lines = [f"{rows[0].score.images:,} {comparison.split} images", *aligned([titles, *map(_cells, rows)])]
    confidence = f"accuracy: with its {CONFIDENCE:.0%} interval (Wilson); ECE: expected calibration error, from 0 to 1"
    lines += [confidence, *_latencies(comparison), *_differences(comparison)]
    return [*lines, *(f"note: {note}" for note in _notes(comparison))]


def csv_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the rows of compare.csv: plain numbers; None where one is unknown or was not measured."""
    differences = comparison.differences()
    by_bytes, by_latency = comparison.front_of_bytes(), comparison.front_of_latency()
    found = []
    for place, row in enumerate(comparison.rows):
        difference = differences[place]
        is_best = place == comparison.best
        values = _plain(row, comparison.split)
        for runtime in RUNTIMES:
            for batch in BATCHES:
                latency = row.latencies.get(runtime, {}).get(batch)
                start = f"{runtime.lower().replace(' ', '')}_batch_{batch}"
                values |= {f"{start}_{end}": getattr(latency, name, None) for name, end in _TIMES.items()}
        found.append(
            values
            | {
                "threads": comparison.threads,
                "difference_from_best_points": difference.pair.difference if difference else 0.0,
                "p_value": None if is_best or difference is None else difference.p_value,
                "on_front_of_latency": None if by_latency is None else int(by_latency[place]),
                "on_front_of_bytes": int(by_bytes[place]),
            }
        )
    return found


def _plain(row: Row, split: str) -> dict[str, Any]:
    low, high = row.score.interval
    return {
        "candidate": row.name,
        "path": str(row.path),
        "format": row.form,
        "split": split,
        "images": row.score.images,
        "correct_images": int(row.score.correct.sum()),
        "accuracy_percent": 100 * row.score.accuracy,
        "accuracy_low_percent": 100 * low,
        "accuracy_high_percent": 100 * high,
        "ece": row.score.ece if row.score.ece == row.score.ece else None,
        "parameters": row.sizes.parameters,
        "nonzero_parameters": row.sizes.nonzero_parameters,
        "macs": row.sizes.macs,
        "bytes": row.bytes,
    }


def _cells(row: Row) -> list[str]:
    low, high = (100 * bound for bound in row.score.interval)
    sizes = (row.sizes.parameters, row.sizes.nonzero_parameters, row.sizes.macs, row.bytes)
    texts = ["" if size is None else short(size) for size in sizes]
    ece = f"{row.score.ece:.4f}" if row.score.ece == row.score.ece else ""
    return [row.name, f"{100 * row.score.accuracy:.2f} ({low:.1f} to {high:.1f})", ece, *texts]


def _latencies(comparison: Comparison) -> list[str]:
    cells = [["candidate", "runtime", *(f"batch {batch}, ms" for batch in BATCHES)]]
    for runtime in RUNTIMES:
        cells += [
            [row.name, runtime, *(latency_text(row.latencies[runtime][batch]) for batch in BATCHES)]
            for row in comparison.rows
            if runtime in row.latencies
        ]
    if len(cells) == 1:
        return []
    threads = f"{comparison.threads} thread{'s' if comparison.threads > 1 else ''}"
    return ["", *aligned(cells), f"{LATENCY_NOTE}, {threads}"]


def _differences(comparison: Comparison) -> list[str]:
    """Return a line for each candidate but the best, and nothing for a single candidate."""
    differences = comparison.differences()
    count = len(differences) - 1
    if not count:
        return []
    adjusted = f", p-values adjusted for {count} comparisons by Holm's method" if count > 1 else ""
    best = comparison.rows[comparison.best].name
    width = max(len(row.name) for row in comparison.rows)
    lines = ["", f"differences from {best}, the most accurate (exact McNemar test{adjusted}):"]
    for row, difference in zip(comparison.rows, differences, strict=True):
        if difference is None:
            continue
        p_value = f"p = {difference.p_value:.3f}" if difference.p_value >= 0.001 else "p < 0.001"
        verdict = "less accurate" if difference.is_significant else "no measurable difference"
        points = f"{difference.pair.difference or 0:.2f} points"
        lines.append(f"  {row.name:{width}}  {points}, {p_value}: {verdict}")
    return lines


def _notes(comparison: Comparison) -> list[str]:
    notes = list(comparison.notes)
    if any(row.form == CHECKPOINT for row in comparison.rows):
        notes.append("the bytes of a checkpoint are those of its network's dense tensors, not of the file")
    if any(row.form == "int8" and row.sizes.nonzero_parameters is not None for row in comparison.rows):
        notes.append("the non-zero parameters of an int8 file are those after the rounding")
    unknown = [row.name for row in comparison.rows if None in (row.sizes.nonzero_parameters, row.sizes.macs)]
    if unknown:
        notes.append(
            f"empty cells are unknown: neither the file nor a model card in its folder has them ({unknown[0]})"
        )
    return notes
