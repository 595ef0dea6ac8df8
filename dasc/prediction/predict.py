"""Predictions for image files, in batches."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor

from dasc.prediction.images import decode_in_threads
from dasc.prediction.predictor import Predictor

TOP = 5
"""Number of classes in a prediction; fewer if the network has fewer."""


class Prediction(NamedTuple):
    """The most probable classes of an image."""

    path: str
    """The file."""
    classes: list[str]
    """Names of the `TOP` most probable classes, the most probable first."""
    probabilities: list[float]
    """Their probabilities."""


class Unreadable(NamedTuple):
    """A file that cannot be read as an image."""

    path: str
    """The file."""
    reason: str
    """The reason, in a sentence that names the file."""


def predict_files(
    predictor: Predictor, paths: Sequence[str], batch_size: int = 64, threads: int = 1
) -> Generator[Prediction | Unreadable, None, None]:
    """Predict image files in the order of `paths`; the memory does not depend on their number.

    An unreadable file is yielded when it is met, before the predictions of its batch.

    Args:
        predictor: Maps decoded images to probabilities.
        paths: The files.
        batch_size: Images of one forward pass, at least 1.
        threads: Threads that decode, at least 1.
    """
    batch: list[tuple[str, Tensor]] = []
    with closing(decode_in_threads(paths, predictor.input_format.decode, threads, ahead=2 * batch_size)) as decoded:
        for path, image in decoded:
            if isinstance(image, str):
                yield Unreadable(path, image)
                continue
            batch.append((path, image))
            if len(batch) == batch_size:
                yield from _predict(predictor, batch)
                batch = []
    if batch:
        yield from _predict(predictor, batch)


def _predict(predictor: Predictor, batch: Sequence[tuple[str, Tensor]]) -> Iterator[Prediction]:
    probabilities = predictor.probabilities(torch.stack([image for _, image in batch]))
    values, places = probabilities.sort(dim=1, descending=True, stable=True)
    for (path, _), of_image, classes in zip(batch, values[:, :TOP].tolist(), places[:, :TOP].tolist(), strict=True):
        yield Prediction(path, [predictor.classes[place] for place in classes], of_image)
