"""Comparison of checkpoints and exported files on the same images."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dasc.callbacks.files import write_csv
from dasc.compare.candidate import Candidate, find_candidate, open_candidate
from dasc.compare.comparison import Comparison, Row
from dasc.compare.figure import draw
from dasc.compare.images import SPLITS, check_alike, notes_on_images, open_images
from dasc.compare.latencies import Latencies, measure_candidates
from dasc.compare.names import short_names
from dasc.compare.score import score
from dasc.compare.text import csv_rows
from dasc.data.batch import Batch
from dasc.errors import UserError
from dasc.export.staging import staged

CSV_FILE, FIGURE_FILE = "compare.csv", "compare.svg"
FILE_NAMES = (CSV_FILE, FIGURE_FILE)
"""All names that a comparison may write."""

Watch = Callable[[Iterable[Batch]], Iterable[Batch]]
"""Passes batches on, such as through a progress bar."""


@dataclass(frozen=True)
class Options:
    """Choices of a comparison; the defaults are those of `dasc compare`.

    Args:
        split: `val` or `test`.
        data_root: Folder of the data set; None: the one of the run.
        allow_training: Whether images may have been training images of candidates.
        threads: Threads of a forward pass whose time is measured, at least 1.
        latency_seconds: Time that the measurement of latencies takes; 0 leaves them out.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.

    Raises:
        UserError: A choice is wrong.
    """

    split: str = "val"
    data_root: str | None = None
    allow_training: bool = False
    threads: int = 1
    latency_seconds: float = 10.0
    trust: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UserError(f"--split must be one of {', '.join(SPLITS)}, got {self.split}")
        if not 0 <= self.latency_seconds < 1e6:
            raise UserError(
                f"--latency_seconds must be 0 or a number of seconds, got {self.latency_seconds:g}: use 10, or 0 to "
                "leave latencies out"
            )


def find_candidates(given: Sequence[str], root: Path) -> tuple[list[Path], list[str]]:
    """Return the files that are compared, and remarks for the user.

    Args:
        given: Checkpoints, run folders, exported files, `best` or `last`; see `dasc.compare.candidate.find_candidate`.
        root: The folder that contains lightning_logs/, for `best` and `last`.

    Raises:
        UserError: There are none, one is not there, or one is given twice.
    """
    if not given:
        raise UserError("candidates are missing: give checkpoints, run folders or exported files")
    found = [find_candidate(one, root) for one in given]
    paths = [path for path, _ in found]
    real = [os.path.realpath(path) for path in paths]
    twice = next((path for place, path in enumerate(paths) if real[place] in real[:place]), None)
    if twice is not None:
        raise UserError(f"candidates must be different files, got {twice} twice: leave one out")
    return paths, [remark for _, remark in found if remark]


def compare(paths: Sequence[Path], options: Options, watch: Watch = lambda batches: batches) -> Comparison:
    """Compare checkpoints and exported files on the images of one run.

    Args:
        paths: The files, at least one, each given once.
        options: The choices.
        watch: Gets the pass over the images.

    Raises:
        UserError: A file cannot be used or differs in its classes or image size, or there are no images for them.
    """
    names = short_names(paths)
    candidates = [open_candidate(path, name, options.trust) for path, name in zip(paths, names, strict=True)]
    check_alike(candidates)
    images = open_images(candidates, options.split, options.data_root, options.allow_training)
    scores = score(candidates, watch(images.batches()))
    notes = [*notes_on_images(candidates, images), *_notes(candidates, options)]
    latencies: Sequence[Latencies] = [{}] * len(candidates)
    if options.latency_seconds:
        batch = next(iter(images.batches()))
        latencies, more = measure_candidates(candidates, batch.images, options.threads, options.latency_seconds)
        notes += more
    rows = [
        Row(one.name, one.path, one.form, one.sizes, one.bytes, own, times)
        for one, own, times in zip(candidates, scores, latencies, strict=True)
    ]
    return Comparison(rows, options.split, options.threads, notes)


def write(comparison: Comparison, folder: Path) -> bool:
    """Write compare.csv and compare.svg into a folder; both appear there at the end, in place of earlier ones.

    Args:
        comparison: The comparison.
        folder: The folder; it is made if it is missing.

    Returns:
        Whether the picture was drawn; without matplotlib it is not.

    Raises:
        UserError: The files cannot be written.
    """
    rows = csv_rows(comparison)
    with staged(folder, FILE_NAMES) as staging:
        write_csv(staging / CSV_FILE, rows, rows[0])
        return draw(comparison, staging / FIGURE_FILE)


def _notes(candidates: Sequence[Candidate], options: Options) -> list[str]:
    notes = [
        f"{one.name}: its auxiliary block{'s are' if one.blocks > 1 else ' is'} left out"
        for one in candidates
        if one.blocks
    ]
    preprocessed = [one.name for one in candidates if one.metadata.preprocess]
    if options.latency_seconds and 0 < len(preprocessed) < len(candidates):
        notes.append(f"latencies of {', '.join(preprocessed)} include normalisation and softmax, the others do not")
    return notes
