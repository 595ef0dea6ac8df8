"""The exported files on the validation images: agreement with the network, and accuracy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dasc.export.agreement import Comparison
from dasc.export.card import Agreement, Result
from dasc.export.card_facts import result_of
from dasc.export.format import Format, Model, Run
from dasc.export.metadata import Metadata
from dasc.export.subject import ScoredBatch, Subject
from dasc.metrics import METRICS, OutputShape, correct, study_formats


@dataclass
class ExportedFile:
    """A written file.

    Args:
        path: The file.
        kind: Its format.
        model: The network that was written.
        comparison: Its comparison with the network.
        correct: Validation images that it classifies correctly.
    """

    path: Path
    kind: Format
    model: Model
    comparison: Comparison = field(default_factory=Comparison)
    correct: int = 0

    @property
    def metadata(self) -> Metadata:
        """The metadata in the file."""
        return self.kind.metadata_of(self.model)

    @property
    def agreement(self) -> Agreement:
        """The comparison, for the card."""
        found = self.comparison
        return Agreement(found.images, found.largest_difference, found.tolerance)


class Accuracy:
    """Accuracy, negative log-likelihood and calibration error of a network, batch by batch.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        shape = OutputShape(num_classes, None, 0)
        self._metrics: dict[str, Metric] = {name: METRICS[name].make(shape) for name in study_formats()}
        self._images = 0

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch of logits (B, classes) with their classes (B,)."""
        self._images += len(targets)
        for metric in self._metrics.values():
            metric.update(logits, targets)

    def result(self, part: str) -> Result:
        """Return the metrics of all batches."""
        values = {name: float(metric.compute()) for name, metric in self._metrics.items()}
        return result_of(part, values, self._images)


@torch.inference_mode()
def verify(subject: Subject, files: Sequence[ExportedFile], batches: Iterable[ScoredBatch]) -> tuple[Result, Result]:
    """Compare files with the network in one pass over the validation images.

    Args:
        subject: The checkpoint.
        files: The files; their comparisons and numbers of correct images are added to.
        batches: The images, from `subject.validation()`.

    Returns:
        The results of the network, and those with the auxiliary blocks of the checkpoint, equal if it has none.
    """
    classes = len(subject.recorded["classes"])
    own, whole = Accuracy(classes), Accuracy(classes)
    runs = [(file, file.kind.open(file.path), file.kind.reference(file.model)) for file in files]
    for batch in batches:
        known: dict[nn.Module, Tensor] = {subject.network: subject.network(batch.normalised)}
        own.update(known[subject.network], batch.targets)
        if subject.blocks:
            whole.update(subject.whole(batch.normalised), batch.targets)
        for file, run, reference in runs:
            images = images_for(file.metadata, batch)
            if reference not in known:
                known[reference] = reference(images)
            outputs = run(images)
            file.comparison.update(known[reference], outputs)
            file.correct += _correct(outputs, batch.targets)
    result = own.result("validation")
    return result, whole.result("validation") if subject.blocks else result


@torch.inference_mode()
def count_correct(run: Run, metadata: Metadata, batches: Iterable[ScoredBatch]) -> int:
    """Return how many images a file classifies correctly.

    Args:
        run: The file.
        metadata: Its metadata.
        batches: The images.
    """
    return sum(_correct(run(images_for(metadata, batch)), batch.targets) for batch in batches)


def images_for(metadata: Metadata, batch: ScoredBatch) -> Tensor:
    """Return the images of a batch as a file takes them: uint8, or normalised float32."""
    return batch.images if metadata.preprocess else batch.normalised


def _correct(outputs: Tensor, targets: Tensor) -> int:
    return int(correct(outputs, targets).sum())
