"""The images that candidates are scored on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dasc.compare.candidate import CHECKPOINT, Candidate
from dasc.compare.sizes import listed_in_card
from dasc.data import ImageData
from dasc.data.batch import Batch
from dasc.data.recorded import recorded_data
from dasc.errors import UserError

SPLITS = {"val": "validate", "test": "test"}
"""Lightning's stage by the split that it scores."""
OPTION = "--allow_training_images"


class Images(NamedTuple):
    """Images of a split."""

    data: ImageData
    """The data, set up for the split."""
    split: str
    """`val` or `test`."""
    source: Candidate
    """The candidate whose run they are of."""

    def batches(self) -> Iterable[Batch]:
        """Return the batches, uint8."""
        return self.data.val_dataloader() if self.split == "val" else self.data.test_dataloader()


def check_alike(candidates: Sequence[Candidate]) -> None:
    """Check that candidates have the same classes and image size.

    Raises:
        UserError: Two of them differ, and in what.
    """
    first = candidates[0]
    for other in candidates[1:]:
        own, theirs = first.metadata, other.metadata
        if difference := _difference_of_classes(first, other):
            raise UserError(f"candidates must have the same classes, got {difference}: leave one out")
        sizes = own.input_format.image_size, theirs.input_format.image_size
        if sizes[0] != sizes[1]:
            texts = [f"{height} x {width} pixels" for height, width in sizes]
            raise UserError(
                f"candidates must have the same image size, got {texts[0]} in {first.path} and {texts[1]} in "
                f"{other.path}: leave one out"
            )


def open_images(
    candidates: Sequence[Candidate], split: str, data_root: str | None = None, allow_training: bool = False
) -> Images:
    """Open the images of a split of the first checkpoint or, without one, of the run with the first exported file.

    Args:
        candidates: The candidates, which have the same classes and image size.
        split: `val` or `test`.
        data_root: Folder of the data set; None: the one of the run.
        allow_training: Whether images may have been training images of candidates.

    Raises:
        UserError: No candidate tells its images, they are not there, or they may have been training images.
    """
    source = find_source(candidates)
    assert source.recorded is not None
    try:
        data = recorded_data(source.recorded, data_root)
    except UserError as error:
        raise UserError(f"the images of {source.path} cannot be used: {error}") from None
    for candidate in [] if allow_training else candidates:
        if candidate.recorded is not None:
            _check_unseen(data, split, candidate.path, candidate.recorded)
    data.setup(SPLITS[split])
    return Images(data, split, source)


def find_source(candidates: Sequence[Candidate]) -> Candidate:
    """Return the first checkpoint or, without one, the first exported file in a run folder.

    Raises:
        UserError: There is none.
    """
    known = [candidate for candidate in candidates if candidate.recorded is not None]
    known.sort(key=lambda candidate: candidate.form != CHECKPOINT)
    if not known:
        raise UserError(
            f"the images must be those of a run, got {candidates[0].path}, which is in no run folder of its "
            "network: give a checkpoint of the run, too"
        )
    return known[0]


def notes_on_images(candidates: Sequence[Candidate], images: Images) -> list[str]:
    """Return what a user has to know about the images, one sentence each."""
    source = images.source
    notes = []
    own = source.metadata.input_format
    for candidate in candidates:
        form = candidate.metadata.input_format
        if (form.interpolation, form.margin) != (own.interpolation, own.margin):
            notes.append(
                f"images are resized as in the run of {source.name}, which is not how {candidate.name} was trained"
            )
        if candidate.recorded is None:
            notes.append(f"the run of {candidate.name} is unknown: the images may have been its training images")
    if images.split == "val" and any(map(_is_selected, candidates)):
        notes.append(
            "the epochs of best checkpoints were selected on validation images, so their accuracy is optimistic: use "
            "--split test for the final comparison"
        )
    return notes


def _is_selected(candidate: Candidate) -> bool:
    """Return whether the epoch of a candidate was selected by validation accuracy, as far as that is known."""
    if candidate.form == CHECKPOINT:
        return candidate.path.stem == "best" or candidate.path.stem.endswith("-best")
    found = listed_in_card(candidate.path)
    return found is not None and found[0].training.selected


def _check_unseen(data: ImageData, split: str, path: Path, recorded: Mapping[str, Any]) -> None:
    try:
        data.source.check_unseen(split, recorded, OPTION)
    except UserError as error:
        raise UserError(f"{path} cannot be compared on these images: {error}") from None


def _difference_of_classes(first: Candidate, other: Candidate) -> str:
    own, theirs = first.metadata.classes, other.metadata.classes
    if len(own) != len(theirs):
        return f"{len(own)} in {first.path} and {len(theirs)} in {other.path}"
    for number, names in enumerate(zip(own, theirs, strict=True)):
        if names[0] != names[1]:
            return f"class {number} '{names[0]}' in {first.path} and '{names[1]}' in {other.path}"
    return ""
