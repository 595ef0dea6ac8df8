"""Networks of a finished study as ONNX and int8 files: accuracy on the test images, and latency in ONNX Runtime.

    python benchmarks/deployment.py lightning_logs/studies/medium-channels --axis network --where magnitude=10

Accuracies are means over the seeds, from files for the images of the runs. Latencies are from files of the networks of
the first seed for images of --image_size, which are measured in turns; ratios are to the first label of the axis. Run
it on a machine that does nothing else.
"""

import argparse
import csv
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dasc.errors import UserError, unknown_name
from dasc.export import int8
from dasc.export.format import Model
from dasc.export.latency import BATCHES, Latency, measure, runs_of
from dasc.export.measuring import enough
from dasc.export.onnx_file import OnnxFormat
from dasc.export.subject import ScoredBatch, Subject, load_subject
from dasc.export.verify import count_correct
from dasc.machine import this_machine
from dasc.networks import count
from dasc.study.folders import checkpoint_path, run_folder

PACKAGES = ("dasc", "torch", "onnxruntime")
KINDS = ("float32", "int8")


@dataclass
class Candidate:
    """The networks of one label.

    Args:
        label: The label.
        checkpoints: The last checkpoint of the run of each seed.
        accuracies: Test accuracies in percent, by `KINDS`, in the order of the checkpoints.
        sizes: Bytes of the files of the first network, by `KINDS`.
        macs: Multiply-accumulate operations of an image of the measurement.
    """

    label: str
    checkpoints: list[Path]
    accuracies: dict[str, list[float]]
    sizes: dict[str, int]
    macs: int = 0


def candidates(results: Path, axis: str, where: Sequence[str]) -> list[Candidate]:
    """Return the runs of a study that have certain labels, by their label of an axis."""
    wanted = {name: label for name, _, label in (condition.partition("=") for condition in where)}
    table = results / "results.csv"
    if not table.is_file():
        raise UserError(f"{results} has no results.csv: give the folder of a finished study")
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "study" and row["final"] == "1"]
    axes = [name.removeprefix("axis_") for name in (rows[0] if rows else {}) if name.startswith("axis_")]
    for name in (axis, *wanted):
        if name not in axes:
            raise UserError(unknown_name("axis", name, axes))
    rows = [row for row in rows if all(row[f"axis_{name}"] == label for name, label in wanted.items())]
    found: dict[str, Candidate] = {}
    for row in rows:
        label = row[f"axis_{axis}"]
        path = checkpoint_path(run_folder(results, row["run"]), "last")
        found.setdefault(label, Candidate(label, [], {}, {})).checkpoints.append(path)
    for name in axes:
        if name not in (axis, *wanted) and len({row[f"axis_{name}"] for row in rows}) > 1:
            raise UserError(f"runs differ in the axis {name}: choose one of its labels by --where {name}=LABEL")
    return list(found.values())


def test_images(subject: Subject) -> list[ScoredBatch]:
    """Return the test images in batches."""
    subject.data.setup("test")
    normalise = subject.data.pipeline.normalise
    return [ScoredBatch(b.images, normalise(b.images), b.targets) for b in subject.data.test_dataloader()]


def write(model: Model, calibration: Sequence[Tensor], folder: Path) -> dict[str, Path]:
    """Write the ONNX file of a network and its int8 version, and return them by `KINDS`."""
    paths = {kind: folder / f"{kind}.onnx" for kind in KINDS}
    OnnxFormat().write(model, paths["float32"])
    int8.quantise(paths["float32"], paths["int8"], calibration)
    return paths


def score(candidate: Candidate, data_root: str | None) -> None:
    """Add the accuracies of the files of all seeds."""
    for path in candidate.checkpoints:
        subject = load_subject(path, data_root)
        with tempfile.TemporaryDirectory() as folder:
            model, batches = subject.model(), test_images(subject)
            total = sum(len(batch.targets) for batch in batches)
            for kind, file in write(model, normalised(subject), Path(folder)).items():
                right = count_correct(OnnxFormat().open(file), model.metadata, batches)
                candidate.accuracies.setdefault(kind, []).append(100 * right / total)


def normalised(subject: Subject) -> list[Tensor]:
    """Return the calibration images as a network takes them."""
    return [subject.data.pipeline.normalise(images) for images in subject.calibration()]


def latencies(
    found: Sequence[Candidate], data_root: str | None, side: int, seconds: float
) -> dict[tuple[str, str, int], Latency]:
    """Measure the files of the first network of each label for images of a size, by label, kind and batch size."""
    calls: dict[tuple[str, str, int], Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, candidate in enumerate(found):
            subject = load_subject(candidate.checkpoints[0], data_root)
            model = subject.model()
            form = replace(model.metadata.input_format, image_size=(side, side))
            model = Model(model.network, replace(model.metadata, input_format=form))
            candidate.macs = count(model.network, (side, side)).macs
            images = [interpolate(batch, (side, side)) for batch in normalised(subject)]
            own = Path(folder, str(number))
            own.mkdir()
            for kind, path in write(model, images, own).items():
                candidate.sizes[kind] = path.stat().st_size
                run = OnnxFormat().open(path, threads=1)
                calls |= {
                    (candidate.label, kind, batch): call
                    for batch, call in runs_of(run, enough(torch.cat(images))).items()
                }
        return measure(calls, seconds)


def spread(values: Sequence[float]) -> str:
    """Return mean ± sample standard deviation."""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def table(found: Sequence[Candidate], times: dict[tuple[str, str, int], Latency]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    columns = [f"batch {batch} (ms)" for batch in BATCHES] + [f"batch {batch} / first" for batch in BATCHES]
    yield f"| network | file | n | test accuracy (%) | bytes | MACs | {' | '.join(columns)} |"
    yield "| --- | --- |" + " ---: |" * (4 + 2 * len(BATCHES))
    first = {batch: times[found[0].label, KINDS[0], batch].median_ms for batch in BATCHES}
    for candidate in found:
        for kind in KINDS:
            accuracies = candidate.accuracies[kind]
            own = [times[candidate.label, kind, batch] for batch in BATCHES]
            shown = [f"{time.median_ms:.3f} ({time.lower_ms:.3f} to {time.upper_ms:.3f})" for time in own]
            ratios = [f"{time.median_ms / first[batch]:.2f}" for time, batch in zip(own, BATCHES, strict=True)]
            cells = [candidate.label, kind, str(len(accuracies)), spread(accuracies)]
            yield f"| {' | '.join([*cells, f'{candidate.sizes[kind]:,}', f'{candidate.macs:,}', *shown, *ratios])} |"


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of a study")
    parser.add_argument("--axis", required=True, help="the axis whose labels are compared")
    parser.add_argument("--where", nargs="*", default=[], metavar="AXIS=LABEL", help="labels of the other axes")
    parser.add_argument("--image_size", type=int, default=32, help="side of the images whose latency is measured")
    parser.add_argument("--latency_seconds", type=float, default=120)
    parser.add_argument("--data.root", dest="data_root", help="folder of the data set (the one of the runs)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        found = candidates(given.results, given.axis, given.where)
        if not found:
            raise UserError(f"{given.results} has no finished run with {' '.join(given.where) or 'results'}")
        for candidate in found:
            score(candidate, given.data_root)
        times = latencies(found, given.data_root, given.image_size, given.latency_seconds)
    except UserError as error:
        sys.exit(str(error))
    print("\n".join(table(found, times)))
    machine = this_machine(PACKAGES)
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    print(
        f"\nAccuracy: mean ± standard deviation over n seeds. Latency: ONNX Runtime, one thread, images of "
        f"{given.image_size}x{given.image_size}, median (quartiles). {machine.cpu}; {versions}."
    )


if __name__ == "__main__":
    main()
