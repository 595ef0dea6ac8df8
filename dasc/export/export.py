"""Export of a checkpoint: the files, their check on the validation images, latencies, and the model card."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dasc.export import int8
from dasc.export.card import JSON_FILE, MARKDOWN_FILE, FileFacts, Result
from dasc.export.card_facts import PACKAGES, file_facts, make_card, quantisation_of, recorded_tests
from dasc.export.card_text import markdown
from dasc.export.format import Model
from dasc.export.measuring import Measurement, enough, measure_export
from dasc.export.options import FILE_NAMES, STEM, Options
from dasc.export.staging import staged
from dasc.export.subject import ScoredBatch, Subject
from dasc.export.verify import ExportedFile, count_correct, images_for, verify
from dasc.machine import this_machine
from dasc.scores import Scores

Say = Callable[[str], object]
"""Shows a line to the user while the export goes on."""
Watch = Callable[[Iterable[ScoredBatch], str], Iterable[ScoredBatch]]
"""Passes batches on, such as through a progress bar with a title."""


class Outcome(NamedTuple):
    """Result of an export."""

    files: list[FileFacts]
    """The files that were kept; empty if nothing was written."""
    problems: list[str]
    """Why files were not kept, one sentence each."""


def export(
    subject: Subject,
    options: Options,
    folder: Path,
    tests: Path,
    trust: Iterable[str] = (),
    say: Say = print,
    watch: Watch = lambda batches, title: batches,
) -> Outcome:
    """Write the files of a checkpoint that agree with its network, and their model card.

    Args:
        subject: The checkpoint.
        options: What is exported.
        folder: The folder of the files; they appear there at the end, in place of those of an earlier export.
        tests: The file with results of `dasc test`; see `dasc.scores.results_file`.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.
        say: Shows what was found.
        watch: Gets each pass over the validation images.

    Raises:
        UserError: The network cannot be written in a format, or the files cannot be written.
    """
    model = subject.model(options.preprocess)
    with staged(folder, FILE_NAMES) as staging:
        written = _write(model, options, staging, trust)
        own, whole = verify(subject, written, watch(subject.validation(), "validation"))
        _say_results(subject, own, whole, say)
        kept, problems = _agreeing(written, say)
        facts = [file_facts(file.path, file.kind.name, file.metadata, file.agreement) for file in kept]
        quantised = _quantise(subject, kept, options, watch, say, problems) if options.int8 else None
        facts += [] if quantised is None else [quantised]
        if not facts:
            (staging / JSON_FILE).unlink()
            return Outcome([], problems)
        measured = _measure(model, subject, kept, quantised, options) if options.latency_seconds else None
        for line in [] if measured is None else filter(None, [*measured.table, measured.gain]):
            say(line)
        results = [own, *(() if subject.blocks else recorded_tests(tests, subject.path))]
        card = make_card(
            subject.path,
            subject.recorded,
            model,
            results,
            facts,
            this_machine(PACKAGES),
            () if measured is None else measured.latencies,
            "" if measured is None else measured.gain,
        )
        (staging / JSON_FILE).write_text(card.to_json(), encoding="utf-8")
        (staging / MARKDOWN_FILE).write_text(markdown(card), encoding="utf-8")
    return Outcome(facts, problems)


def _write(model: Model, options: Options, folder: Path, trust: Iterable[str]) -> list[ExportedFile]:
    """Write the files; formats without metadata find them in the card, which has no other content yet."""
    files = []
    for kind in options.make_formats(trust):
        path = folder / f"{STEM}{kind.suffix}"
        kind.write(model, path)
        files.append(ExportedFile(path, kind, model))
    strings = model.metadata.without_graph().to_strings()
    (folder / JSON_FILE).write_text(json.dumps({"metadata": strings}), encoding="utf-8")
    return files


def _say_results(subject: Subject, own: Result, whole: Result, say: Say) -> None:
    if subject.blocks:
        names = ("accuracy without", own), ("with them", whole)
        texts = ", ".join(f"{name} {100 * (result.metrics['accuracy'].value or 0):.2f} %" for name, result in names)
        count = f"{subject.blocks} auxiliary block{'s' if subject.blocks > 1 else ''}"
        say(f"left out: {count}, {texts}, on {own.images} validation images")
    values = {name: facts.value for name, facts in own.metrics.items() if facts.value is not None}
    say("validation images:")
    for line in Scores(values, own.images).table():
        say(line)


def _agreeing(files: Sequence[ExportedFile], say: Say) -> tuple[list[ExportedFile], list[str]]:
    """Return the files that agree with the network, and sentences about the others, which are removed."""
    kept, problems = [], []
    for file in files:
        sentence = file.comparison.sentence(file.path.name)
        if file.comparison.agrees:
            say(sentence)
            kept.append(file)
        else:
            problems.append(f"{sentence}; not kept")
            file.path.unlink()
    return kept, problems


def _quantise(
    subject: Subject,
    kept: Sequence[ExportedFile],
    options: Options,
    watch: Watch,
    say: Say,
    problems: list[str],
) -> FileFacts | None:
    """Quantise the ONNX file, and return the facts about the result if it is kept."""
    source = next((file for file in kept if file.kind.name == "onnx"), None)
    if source is None:
        problems.append(f"{STEM}{int8.SUFFIX} is not written: it is made of {STEM}.onnx")
        return None
    output = source.path.with_name(f"{STEM}{int8.SUFFIX}")
    normalise = subject.data.pipeline.normalise
    images = subject.calibration()
    int8.quantise(source.path, output, images if options.preprocess else map(normalise, images))
    batches = watch(subject.validation(), "int8")
    count = count_correct(source.kind.open(output), source.metadata, batches)
    total = source.comparison.images
    check = int8.Int8Check(source.correct, count, total, options.max_drop)
    if not check.is_kept:
        problems.append(check.sentence(output.name))
        output.unlink()
        return None
    say(check.sentence(output.name))
    quantisation = quantisation_of(source.correct, count, total)
    return file_facts(output, "int8", source.metadata, quantisation=quantisation)


def _measure(
    model: Model, subject: Subject, kept: Sequence[ExportedFile], quantised: FileFacts | None, options: Options
) -> Measurement:
    batch = next(iter(subject.validation()))
    paths = {file.kind.name: file for file in kept}
    onnx = paths.get("onnx")
    files = {} if onnx is None else {"onnx": onnx.path}
    if onnx is not None and quantised is not None:
        files["int8"] = onnx.path.with_name(quantised.name)
    share = None
    if "sparse" in paths:
        dense = sum(tensor.nbytes for tensor in model.network.state_dict().values())
        share = paths["sparse"].path.stat().st_size / dense
    images = enough(images_for(model.metadata, batch))
    kind = None if onnx is None else onnx.kind
    original = subject.dense() if subject.has_fewer_channels else None
    return measure_export(model, original, images, files, kind, options.threads, options.latency_seconds, share)
