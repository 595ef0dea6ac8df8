"""Model card: the facts about an exported network, as plain data and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dasc.errors import UserError
from dasc.export.plain import ShapeError, parse_json, plain, read, to_json
from dasc.machine import Machine

VERSION = 1
"""Version of the JSON that is written."""
JSON_FILE = "model_card.json"
MARKDOWN_FILE = "model_card.md"


@dataclass(frozen=True)
class NetworkFacts:
    """Class, arguments and sizes of a network; MACs are of one image.

    Args:
        class_path: Import path of the class.
        init_args: Arguments of its constructor.
        layers: Convolutions and linear layers.
        parameters: Number of parameters.
        nonzero_parameters: Parameters without zero weights of convolutions and linear layers.
        macs: Multiply-accumulates.
        nonzero_macs: Multiply-accumulates without those of zero weights.
        prunable_weights: Weights of convolutions and linear layers.
        zero_weights: Zeros among them.
    """

    class_path: str
    init_args: Mapping[str, Any]
    layers: int
    parameters: int
    nonzero_parameters: int
    macs: int
    nonzero_macs: int
    prunable_weights: int
    zero_weights: int

    @property
    def sparsity(self) -> float:
        """Share of zeros among the weights of convolutions and linear layers."""
        return self.zero_weights / max(self.prunable_weights, 1)

    @property
    def title(self) -> str:
        """Name of the class with the arguments, such as `CifarResNet (depth 20)`."""
        arguments = ", ".join(f"{name} {value}" for name, value in self.init_args.items())
        return self.class_path.rpartition(".")[2] + (f" ({arguments})" if arguments else "")


@dataclass(frozen=True)
class DataFacts:
    """Data set and split that a network was trained on.

    Args:
        dataset: Name of the data set.
        folder: Name of its folder, without the path.
        classes: Class names in the order of the outputs.
        split: How the parts were made, as recorded by the run; empty if it records nothing.
        split_seed: Seed of the split; None if the run does not record it.
        training_images: Number of training images; None if the run does not record it.
        validation_images: Number of validation images.
    """

    dataset: str
    folder: str
    classes: tuple[str, ...]
    split: Mapping[str, Any]
    split_seed: int | None
    training_images: int | None
    validation_images: int


@dataclass(frozen=True)
class InputFacts:
    """Preprocessing of image files; see `dasc.prediction.InputFormat`."""

    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    margin: float


@dataclass(frozen=True)
class TrainingFacts:
    """Training of a network.

    Args:
        checkpoint: Name of the checkpoint's file.
        selected: Whether the epoch of the checkpoint was selected by validation accuracy.
        seed: Seed; None if the run does not record it.
        epochs_done: Epochs until the checkpoint; None if the run does not record them.
        stage: Stage of the checkpoint, from 1.
        stages: Rows of the table of stages, as in YAML.
        columns: Titles of the columns of the printed table.
        rows: Its cells.
        recipe: Module, optimizer and settings.
        teacher: SHA-256 of the teacher's weights, or `stage N` of the run itself; empty for none.
        dasc: Version of dasc that trained; empty if the run does not record it.
    """

    checkpoint: str
    selected: bool
    seed: int | None
    epochs_done: int | None
    stage: int
    stages: tuple[Mapping[str, Any], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    recipe: Mapping[str, Any]
    teacher: str
    dasc: str


@dataclass(frozen=True)
class MetricFacts:
    """A metric; a proportion of the images has its confidence interval, other metrics have None as bounds.

    The value is None if it is not finite.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Result:
    """Metrics of a part of the data.

    Args:
        part: `validation` or `test`.
        images: Number of images.
        confidence: Confidence of the intervals, such as 0.95.
        metrics: The metrics by their names in `dasc.metrics.METRICS`.
    """

    part: str
    images: int
    confidence: float
    metrics: Mapping[str, MetricFacts]


@dataclass(frozen=True)
class Agreement:
    """Comparison of the outputs of a file with those of the network.

    Args:
        images: Number of images.
        largest_difference: Largest absolute difference.
        tolerance: Largest permitted one.
    """

    images: int
    largest_difference: float
    tolerance: float


@dataclass(frozen=True)
class Quantisation:
    """Accuracies before and after quantisation, on the same images, with their confidence intervals."""

    images: int
    before: MetricFacts
    after: MetricFacts


@dataclass(frozen=True)
class FileFacts:
    """An exported file.

    Args:
        name: Its name.
        format: Name of the format, such as `onnx`, or `int8`.
        bytes: Its size.
        sha256: SHA-256 of its content, in hexadecimal.
        preprocess: Whether it maps uint8 images to probabilities, or normalised float32 images to logits.
        agreement: Comparison with the network; None for int8.
        quantisation: Accuracies before and after; None for float files.
        pytorch: Lines that load and run it in PyTorch; empty where PyTorch cannot.
        onnxruntime: Lines that load and run it in ONNX Runtime; empty where it cannot.
    """

    name: str
    format: str
    bytes: int
    sha256: str
    preprocess: bool
    agreement: Agreement | None
    quantisation: Quantisation | None
    pytorch: tuple[str, ...]
    onnxruntime: tuple[str, ...]


@dataclass(frozen=True)
class LatencyFacts:
    """Time of one forward pass, in milliseconds: the median and the quartiles of `repeats` timed calls."""

    name: str
    runtime: str
    batch: int
    threads: int
    median_ms: float
    lower_ms: float
    upper_ms: float
    repeats: int


@dataclass(frozen=True)
class Card:
    """Model card.

    Args:
        network: The network.
        data: Its data.
        input: Preprocessing of image files.
        training: Its training.
        results: Results on the validation images, and on the test images if there are some.
        files: The exported files.
        latencies: Latencies; empty if none were measured.
        gain: What zeros and int8 change in time and bytes; empty if it was not measured.
        machine: The machine that exported and measured.
        limits: Intended use and limits, one sentence each.
        metadata: `Metadata.to_strings` of the network, for files without metadata.
        version: Version of the JSON.
    """

    network: NetworkFacts
    data: DataFacts
    input: InputFacts
    training: TrainingFacts
    results: tuple[Result, ...]
    files: tuple[FileFacts, ...]
    latencies: tuple[LatencyFacts, ...]
    gain: str
    machine: Machine
    limits: tuple[str, ...]
    metadata: Mapping[str, str]
    version: int = VERSION

    def to_json(self) -> str:
        """Return the card as strict JSON; numbers that are not finite become null."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: object = JSON_FILE) -> "Card":
        """Return the card of a text that `to_json` returned.

        Args:
            text: The text.
            source: The file, for errors.

        Raises:
            UserError: It is no model card, of another version, or damaged.
        """
        try:
            content = parse_json(text)
        except ValueError:
            raise UserError(f"{source} must be a model card in JSON, got another text: export it again") from None
        if not isinstance(content, dict) or "version" not in content:
            raise UserError(f"{source} must be a model card of dasc export, got another file: check the path")
        if content["version"] != VERSION or isinstance(content["version"], bool):
            raise UserError(
                f"the version of {source} must be {VERSION}, got {plain(content['version'])}: use the version of dasc "
                "that wrote it"
            )
        try:
            return read(cls, content)
        except ShapeError as error:
            raise UserError(f"{source} is damaged: {error}; export it again") from None

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Read the card in a file.

        Raises:
            UserError: The file cannot be read, or is no model card of this version.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from None
        return cls.from_json(content, path)
