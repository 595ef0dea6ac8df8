"""Facts of a model card, from a checkpoint, its network and the exported files."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dasc import scores
from dasc.export.card import (
    Agreement,
    Card,
    DataFacts,
    FileFacts,
    InputFacts,
    LatencyFacts,
    MetricFacts,
    NetworkFacts,
    Quantisation,
    Result,
    TrainingFacts,
)
from dasc.export.format import Model
from dasc.export.loading import loading_lines
from dasc.export.metadata import Metadata
from dasc.export.plain import plain
from dasc.machine import Machine
from dasc.metrics import CONFIDENCE, proportion_interval
from dasc.networks import build_network, count, prunable_weights
from dasc.stages import COLUMNS, Stages, in_order

PACKAGES = ("dasc", "torch", "torchvision", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "zstandard")
"""Packages whose versions a card has."""


def result_of(part: str, metrics: Mapping[str, float | None], images: int) -> Result:
    """Return the metrics of a part of the data, with Wilson's intervals of the proportions.

    Args:
        part: `validation` or `test`.
        metrics: The values by the names of `dasc.metrics.METRICS`, with or without a prefix such as `test/`; None, as
            test.json has it, is a value that is not finite.
        images: Number of images, at least 1.
    """
    given = scores.Scores({name: math.nan if value is None else value for name, value in metrics.items()}, images)
    intervals = given.intervals()
    facts = {n: MetricFacts(plain(value), *intervals.get(n, (None, None))) for n, value in given.metrics().items()}
    return Result(part, images, CONFIDENCE, facts)


def recorded_tests(path: Path, checkpoint: Path) -> tuple[Result, ...]:
    """Return the results of `dasc test` for a checkpoint; none if the checkpoint is newer than they are.

    Args:
        path: The file of test results; see `dasc.scores.results_file`.
        checkpoint: The checkpoint.

    Raises:
        UserError: The file has another content.
    """
    records = scores.read_records(path)
    if not records or path.stat().st_mtime < checkpoint.stat().st_mtime:
        return ()
    found = [record for record in records if _is_of(record, path.parent, checkpoint)]
    return tuple(result_of("test", record["metrics"], record["images"]) for record in found)


def _is_of(record: Mapping[str, Any], folder: Path, checkpoint: Path) -> bool:
    """Return whether a record is complete, and of a checkpoint."""
    name, metrics, images = (record.get(key) for key in ("checkpoint", "metrics", "images"))
    if not (isinstance(name, str) and isinstance(metrics, dict) and isinstance(images, int) and images > 0):
        return False
    has_numbers = all(isinstance(value, int | float | None) for value in metrics.values())
    return has_numbers and (folder / name).resolve() == checkpoint.resolve()


def quantisation_of(correct_before: int, correct_after: int, images: int) -> Quantisation:
    """Return the accuracies of a float32 and an int8 file on the same images, with their intervals.

    Args:
        correct_before: Correct images of the float32 file.
        correct_after: Correct images of the int8 file.
        images: Number of images, at least 1.
    """
    shares = (correct_before / images, correct_after / images)
    before, after = (MetricFacts(share, *proportion_interval(share, images)) for share in shares)
    return Quantisation(images, before, after)


def file_facts(
    path: Path,
    form: str,
    metadata: Metadata,
    agreement: Agreement | None = None,
    quantisation: Quantisation | None = None,
) -> FileFacts:
    """Return the facts about a file.

    Args:
        path: The file.
        form: Name of its format, or `int8`.
        metadata: The metadata that it has.
        agreement: Its comparison with the network.
        quantisation: Accuracies before and after quantisation.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    lines = loading_lines(form, path.name, metadata.network["class_path"])
    size = path.stat().st_size
    return FileFacts(path.name, form, size, digest, metadata.preprocess, agreement, quantisation, *lines)


def network_facts(model: Model) -> NetworkFacts:
    """Return the class, the arguments and the sizes of a network."""
    sizes = count(model.network, model.metadata.input_format.image_size)
    weights = sum(weight.numel() for weight in prunable_weights(model.network).values())
    zeros = sizes.parameters - sizes.nonzero_parameters
    description = plain(model.metadata.network)
    return NetworkFacts(description["class_path"], description["init_args"], *sizes, weights, zeros)


def data_facts(recorded: Mapping[str, Any], validation_images: int) -> DataFacts:
    """Return the facts about the data of a run.

    Args:
        recorded: The data of the checkpoint under `dasc`.
        validation_images: Number of validation images.
    """
    settings, split = recorded.get("data") or {}, recorded.get("split") or {}
    return DataFacts(
        settings.get("dataset", ""),
        Path(recorded.get("root") or "").name,
        tuple(recorded["classes"]),
        plain(split),
        split.get("seed", settings.get("split_seed")),
        split.get("images"),
        validation_images,
    )


@dataclass(frozen=True)
class _Planned:
    """What the columns show of a stage; see `dasc.stages.PlanFacts`."""

    first: int
    last: int
    lr: float
    layers: str


def training_facts(recorded: Mapping[str, Any], checkpoint: Path) -> TrainingFacts:
    """Return the facts about a training.

    Args:
        recorded: The data of the checkpoint under `dasc`.
        checkpoint: The file; those of a run whose names are `best` or end in `-best` were selected by validation.
    """
    stages, recipe = Stages.parse(recorded["stages"]), recorded.get("recipe") or {}
    shown = [column for column in in_order() if column.is_in_plan([row[column.name] for row in stages])]
    rate = (recipe.get("optimizer") or {}).get("lr", math.nan)
    layers = _layers(recorded["network"], stages)
    rows = []
    for number, (start, row) in enumerate(zip(stages.starts, stages, strict=True), start=1):
        facts = _Planned(start + 1, start + row.epochs, rate, layers[number - 1])
        rows.append((str(number), *(column.plan_text(row[column.name], facts) for column in shown)))
    return TrainingFacts(
        checkpoint=checkpoint.name,
        selected=checkpoint.stem == "best" or checkpoint.stem.endswith("-best"),
        seed=recorded.get("seed"),
        epochs_done=recorded.get("epochs_done"),
        stage=recorded.get("stage", 0) + 1,
        stages=tuple(plain(stages.dump())),
        columns=("stage", *(column.title for column in shown)),
        rows=tuple(rows),
        recipe=plain(recipe),
        teacher=recipe.get("teacher") or "",
        dasc=recorded.get("version", ""),
    )


def _layers(description: Mapping[str, Any], stages: Stages) -> list[str]:
    """Return the layers of each stage, such as `20+10` with auxiliary blocks."""
    own: int | None = None
    texts = []
    for row in stages:
        network = build_network(dict(description))
        own = own or len(prunable_weights(network))
        COLUMNS["auxiliary"].apply(network, row.auxiliary)
        more = len(prunable_weights(network)) - own
        texts.append(f"{own}+{more}" if more else str(own))
    return texts


def limits_of(
    training: TrainingFacts, results: Sequence[Result], files: Sequence[FileFacts], classes: int
) -> list[str]:
    """Return the intended use and the limits of a network, one sentence each."""
    limits = [f"The network assigns an image to one of its {classes:,} classes, also an image of none of them."]
    images = next((result.images for result in results if result.part == "validation"), 0)
    if images and training.selected:
        limits.append(
            f"The epoch of the checkpoint was selected on the {images:,} validation images, so their accuracy is "
            "optimistic."
        )
    if not any(result.part == "test" for result in results):
        limits.append("The checkpoint has no recorded results on test images.")
    if any(file.quantisation for file in files):
        limits.append("The int8 file was kept because of its accuracy on the validation images.")
    if any(file.format == "torch_export" for file in files):
        limits.append("torch.export.load executes code in a .pt2 file: load only files that you trust.")
    return limits


def make_card(
    checkpoint: Path,
    recorded: Mapping[str, Any],
    model: Model,
    results: Sequence[Result],
    files: Iterable[FileFacts],
    machine: Machine,
    latencies: Iterable[LatencyFacts] = (),
    gain: str = "",
) -> Card:
    """Return the card of an export.

    Args:
        checkpoint: The checkpoint.
        recorded: Its data under `dasc`.
        model: The exported network.
        results: Results on the validation images, which come first, and on the test images if there are some.
        files: The files.
        machine: This machine, with the versions of `PACKAGES`.
        latencies: The latencies.
        gain: What zeros and int8 change; see `Card`.
    """
    form, classes = model.metadata.input_format, model.metadata.classes
    training, kept = training_facts(recorded, checkpoint), tuple(files)
    return Card(
        network=network_facts(model),
        data=data_facts(recorded, results[0].images),
        input=InputFacts(form.image_size, tuple(form.mean), tuple(form.std), form.interpolation, float(form.margin)),
        training=training,
        results=tuple(results),
        files=kept,
        latencies=tuple(latencies),
        gain=gain,
        machine=machine,
        limits=tuple(limits_of(training, results, kept, len(classes))),
        metadata=model.metadata.without_graph().to_strings(),
    )
