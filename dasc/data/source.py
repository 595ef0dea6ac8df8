"""The images of a data set in their parts, and the record of the split."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dasc.data.sets import AnySet, FileSet, SetInfo
from dasc.data.splits import Split, split
from dasc.data.unseen import trained_names
from dasc.errors import UserError
from dasc.preprocessing import Interpolation


class Source:
    """The parts of a data set, read on first use.

    Args:
        dataset: Name of the data set.
        info: The data set.
        root: Its folder.
        download: Whether a missing data set may be downloaded.
        train_size: See `split`.
        split_seed: See `split`.
    """

    def __init__(
        self, dataset: str, info: SetInfo, root: str, download: bool, train_size: float | None, split_seed: int
    ) -> None:
        self._dataset = dataset
        self._info = info
        self.root = root
        self._download = download
        self._train_size = train_size
        self._split_seed = split_seed
        self._split: Split | None = None
        self._train: AnySet | None = None
        self._test_paths: list[str] | None = None
        self._record: dict[str, Any] = {}
        self.interpolation: Interpolation = "bilinear"
        """Interpolation with which images are resized."""

    def read(self) -> dict[str, AnySet]:
        """Return `train`, `val` and `test`; a part without images is missing.

        The result is the same dict in every call. A part in it may be replaced, such as files by decoded images.

        Raises:
            UserError: The data set cannot be read or split.
        """
        return self._read().sets

    def resize_with(self, interpolation: Interpolation) -> None:
        """Set the interpolation; images that were resized with another one are read again on their next use."""
        if interpolation != self.interpolation:
            self.interpolation, self._split = interpolation, None

    def training(self) -> AnySet:
        """Return the training images.

        Raises:
            UserError: There are none, or a class of `class_names` has none.
        """
        train = self.read().get("train")
        if train is None:
            raise UserError(f"there are no training images under {self.root}: put them into class folders in train/")
        if self._info.all_classes:
            missing = sorted(set(range(len(self._info.class_names))) - set(train.targets.tolist()))
            if missing:
                name = self._info.class_names[missing[0]]
                raise UserError(f"class '{name}' has no training images under {self.root}: add some")
        return train

    def test_paths(self) -> list[str] | None:
        """Return the files of the test images, or None if they are not in files of their own."""
        self.read()
        return self._test_paths

    def record(self) -> dict[str, Any]:
        """Return, as plain data, how the training images were chosen, with their number and digest; {} without any."""
        own = self._read()
        if not self._record and self._train is not None:
            self._record = own.record(self._train)
        return self._record

    def check_unseen(self, part: str, recorded: Mapping[str, Any], option: str = "") -> None:
        """Check that the images of a part were not training images of a checkpoint.

        Args:
            part: `val` or `test`.
            recorded: The data of the checkpoint under `dasc`.
            option: The option of the command that skips this check, for the error.

        Raises:
            UserError: Some were or may have been.
        """
        own, sets, skip = self._read(), self.read(), f", or add {option}" if option else ""
        if part not in sets or recorded.get("data", {}).get("dataset") != self._dataset:
            return
        places, files = own.places.get(part), isinstance(self._train, FileSet)
        record = recorded.get("split")
        if record is None and places is not None and files:
            raise UserError(
                f"the checkpoint does not record its training images, and the {part} images are split from train/: "
                f"put images that it was not trained on into {part}/{skip}"
            )
        if record is None:  # format 1, which split arrays by the same rule
            record = own.rule.plain() | {"seed": recorded["data"]["split_seed"], "digest": ""}
            record |= {"train_size": recorded["data"]["train_size"]}
        found = trained_names(record, self._train, sets[part], places)
        if found:
            named = ", ".join(found[:3]) + ", ..." * (len(found) > 3)
            raise UserError(
                f"{len(found)} of the {len(sets[part].targets)} {part} images were, or may have been, training images "
                f"of the checkpoint ({'' if files else 'by index: '}{named}): put images that it was not trained on "
                f"into {part}/, or give the data.split_seed of its run{skip}"
            )

    def _read(self) -> Split:
        if self._split is None:
            first_here = int(os.environ.get("LOCAL_RANK", "0")) == 0
            parts = self._info.read(Path(self.root), self._download and first_here)
            self._split = split(parts, self._info.validation, self._train_size, self._split_seed)
            self._train, test = parts.train, self._split.sets.get("test")
            self._test_paths = test.paths if isinstance(test, FileSet) else None
        return self._split
