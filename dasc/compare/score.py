"""Scores of candidates on the same images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasc.compare.candidate import Candidate
from dasc.data.batch import Batch
from dasc.metrics import METRICS, OutputShape, correct, proportion_interval

_IMAGES = 128
"""Images of one forward pass at most."""


@dataclass(frozen=True)
class Score:
    """Score of a candidate.

    Args:
        correct: Whether each image is classified correctly, bool (N,), N at least 1.
        ece: Expected calibration error, from 0 to 1; NaN if an output is not finite.
    """

    correct: Tensor
    ece: float

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly."""
        return int(self.correct.sum()) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval of the accuracy."""
        return proportion_interval(self.accuracy, self.images)


def score(candidates: Sequence[Candidate], batches: Iterable[Batch]) -> list[Score]:
    """Score all candidates in one pass over the images.

    Args:
        candidates: The candidates, which have the same classes and image size.
        batches: The images, uint8, with their classes.

    Raises:
        UserError: A file cannot be run on the images.
    """
    shape = OutputShape(len(candidates[0].metadata.classes), None, 0)
    errors = [METRICS["ece"].make(shape) for _ in candidates]
    hits: list[list[Tensor]] = [[] for _ in candidates]
    for batch in batches:
        for images, targets in zip(batch.images.split(_IMAGES), batch.targets.split(_IMAGES), strict=True):
            for place, candidate in enumerate(candidates):
                probabilities = candidate.probabilities(images)
                hits[place].append(correct(probabilities, targets).bool())
                errors[place].update(probabilities.log(), targets)  # the metric applies a softmax
    return [Score(torch.cat(own), float(error.compute())) for own, error in zip(hits, errors, strict=True)]
