"""Model card as Markdown."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dasc.errors import one_line
from dasc.export.card import JSON_FILE, Card, FileFacts, InputFacts, MetricFacts, Result
from dasc.metrics import METRICS

CLASSES = 20
"""Largest number of class names in the Markdown."""

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~&$])")


def markdown(card: Card) -> str:
    """Return a card as Markdown."""
    sections: dict[str, Iterable[str]] = {
        "Use and limits": (f"- {_escape(limit)}" for limit in card.limits),
        "Results": _results(card.results),
        "Size": _size(card),
        "Files": _files(card),
        "Input and output": _input(card),
        "Loading": _loading(card.files),
        "Latency": _latency(card),
        "Data": _data(card),
        "Training": _training(card),
        "Machine and versions": _machine(card),
    }
    lines = [f"# Model card: {_escape(card.network.title)}"]
    for title, content in sections.items():
        if body := list(content):
            lines += ["", f"## {title}", "", *body]
    return "\n".join(lines).encode("utf-8", "replace").decode() + "\n"  # class folders may have any bytes as names


def _escape(text: object) -> str:
    """Return a text in one line, without a meaning in Markdown."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> Iterator[str]:
    """Yield the lines of a table whose columns after the first `left` are aligned to the right."""
    yield _row(columns)
    yield _row(["---" if number < left else "---:" for number in range(len(columns))], escape=False)
    yield from map(_row, rows)


def _row(cells: Sequence[object], escape: bool = True) -> str:
    return f"| {' | '.join(_escape(cell) if escape else str(cell) for cell in cells)} |"


def _facts(facts: Mapping[str, object]) -> Iterator[str]:
    """Yield a list of facts; those without a value are left out."""
    return (f"- {name}: {_escape(value)}" for name, value in facts.items() if value not in ("", None))


def _settings(settings: Mapping[str, Any]) -> str:
    """Return nested settings in one line."""
    parts = (f"{name} ({_settings(v)})" if isinstance(v, dict) else f"{name} {v}" for name, v in settings.items())
    return ", ".join(parts)


def _metric(name: str, facts: MetricFacts) -> tuple[str, str]:
    """Return the value of a metric and its interval, as `dasc test` rounds them."""
    form = METRICS[name].study if name in METRICS else None
    scale, digits = (form.scale, form.digits) if form else (1.0, 4)
    unit = " %" if scale == 100 else ""
    if facts.value is None:
        return "not finite", ""
    value = f"{facts.value * scale:.{digits}f}{unit}"
    if facts.low is None or facts.high is None:
        return value, ""
    low, high = (f"{bound * scale:.{max(digits - 1, 0)}f}" for bound in (facts.low, facts.high))
    return value, f"{low} to {high}{unit}"


def _results(results: Sequence[Result]) -> Iterator[str]:
    rows = []
    for result in results:
        for name, facts in result.metrics.items():
            title = METRICS[name].title if name in METRICS else name
            rows.append((title, result.part, f"{result.images:,}", *_metric(name, facts)))
    confidence = f"{100 * results[0].confidence:g} % interval" if results else "interval"
    return _table(("metric", "images of", "n", "value", confidence), rows, left=2)


def _size(card: Card) -> Iterator[str]:
    net = card.network
    rows = [
        ("parameters", f"{net.parameters:,}", f"{net.nonzero_parameters:,}"),
        ("MACs of one image", f"{net.macs:,}", f"{net.nonzero_macs:,}"),
    ]
    yield from _table(("", "all", "without zeros"), rows)
    yield ""
    yield (
        f"{net.layers} convolutions and linear layers with {net.prunable_weights:,} weights, of which "
        f"{net.zero_weights:,} ({net.sparsity:.1%}) are zero."
    )


def _files(card: Card) -> Iterator[str]:
    rows = []
    for file in card.files:
        found = file.agreement
        difference = "" if found is None else f"{found.largest_difference:.1e} ({found.tolerance:.1e})"
        images = "" if found is None else f"{found.images:,}"
        rows.append((file.name, file.format, f"{file.bytes:,}", images, difference, file.sha256))
    titles = ("file", "format", "bytes", "images compared", "largest difference (permitted)", "SHA-256")
    yield from _table(titles, rows, left=2)
    for file in card.files:
        if (change := file.quantisation) is not None:
            before, after = map(_accuracy, (change.before, change.after))
            yield ""
            yield (
                f"{_escape(file.name)}: accuracy {after} after and {before} before quantisation, on "
                f"{change.images:,} validation images."
            )


def _accuracy(facts: MetricFacts) -> str:
    value, interval = _metric("accuracy", facts)
    return f"{value} ({interval})"


def _input(card: Card) -> Iterator[str]:
    form, count = card.input, len(card.data.classes)
    for is_preprocessed in (True, False):
        names = [file.name for file in card.files if file.preprocess == is_preprocessed]
        if names:
            yield f"- {_escape(', '.join(names))}: {_input_of(is_preprocessed, form)}"
            yield f"  The outputs are {'probabilities' if is_preprocessed else 'logits'}, float32 (B, {count})."


def _input_of(is_preprocessed: bool, form: InputFacts) -> str:
    height, width = form.image_size
    shape = f"(B, 3, {height}, {width})"
    middle = f"{height}x{width}" if form.margin == 1 else f"{form.margin:.4g} times {height}x{width}"
    pixels = f"RGB, resized to cover {middle} ({form.interpolation}), and of that the middle {height}x{width}"
    if is_preprocessed:
        return f"`images` is uint8 {shape}: {pixels}. The file normalises them."
    mean, std = (f"({', '.join(map(str, values))})" for values in (form.mean, form.std))
    return (
        f"`images` is float32 {shape}: {pixels}, normalised as `(pixels / 255 - mean) / std` with the channels' "
        f"`mean` {mean} and `std` {std}."
    )


def _loading(files: Iterable[FileFacts]) -> Iterator[str]:
    yield "`images` and `outputs` are tensors in PyTorch and NumPy arrays in ONNX Runtime."
    for file in files:
        for runtime, lines in (("PyTorch", file.pytorch), ("ONNX Runtime", file.onnxruntime)):
            if lines:
                yield from ("", f"{_escape(file.name)} in {runtime}:", "", "```python", *lines, "```")


def _latency(card: Card) -> Iterator[str]:
    if not card.latencies:
        return
    rows = [
        (
            row.name,
            row.runtime,
            row.batch,
            row.threads,
            f"{row.median_ms:.3f}",
            f"{row.lower_ms:.3f} to {row.upper_ms:.3f}",
            row.repeats,
        )
        for row in card.latencies
    ]
    yield from _table(("file", "runtime", "batch", "threads", "median, ms", "quartiles, ms", "repeats"), rows, left=2)
    yield from ("", f"On {_escape(_processor(card))}.")
    if card.gain:
        yield from ("", f"{_escape(card.gain)}.")


def _data(card: Card) -> Iterator[str]:
    data, split = card.data, card.data.split
    names = ", ".join(data.classes[:CLASSES])
    more = f" and {len(data.classes) - CLASSES} more, see {JSON_FILE}" if len(data.classes) > CLASSES else ""
    part = "split from the training images" if "val" in split.get("parts", ()) else "of the data set"
    validation = f"{data.validation_images:,}" + (f", {part} ({_rule(split)})" if split else "")
    return _facts(
        {
            "data set": data.dataset,
            "folder": data.folder,
            "training images": None if data.training_images is None else f"{data.training_images:,}",
            "validation images": validation,
            "split seed": data.split_seed,
            "SHA-256 of the training images' names": split.get("digest"),
            f"{len(data.classes):,} classes": names + more,
        }
    )


def _rule(split: Mapping[str, Any]) -> str:
    return f"rule {split.get('rule')}, share {split.get('share')}"


def _training(card: Card) -> Iterator[str]:
    training = card.training
    yield from _table(training.columns, training.rows, left=0)
    yield ""
    recipe = {name: value for name, value in training.recipe.items() if name not in ("module", "optimizer", "teacher")}
    yield from _facts(
        {
            "checkpoint": training.checkpoint,
            "epochs done": training.epochs_done,
            "stage of the checkpoint": training.stage,
            "seed": training.seed,
            "module": training.recipe.get("module"),
            "optimizer": _settings(training.recipe.get("optimizer") or {}),
            "settings": _settings(recipe),
            "teacher": training.teacher,
            "dasc": training.dasc,
        }
    )


def _processor(card: Card) -> str:
    count = card.machine.cores
    return f"{card.machine.cpu}, {count} core{'' if count == 1 else 's'}"


def _machine(card: Card) -> Iterator[str]:
    machine = card.machine
    facts = {"CPU": _processor(card), "GPU": machine.gpu, "system": machine.system}
    return _facts({**facts, "versions": ", ".join(f"{name} {number}" for name, number in machine.versions.items())})
