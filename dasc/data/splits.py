"""Fixed training, validation and test parts of a data set."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dasc.data.sets import AnySet, FileSet, Parts
from dasc.errors import UserError


@dataclass(frozen=True)
class SplitRule:
    """How parts are split from the training images of a data set.

    Args:
        rule: `hash` decides each file by a hash of its relative name; `stratified` is a random split by class.
        seed: Seed of the validation part and of `train_size`. The test part does not depend on it.
        share: Share of the training images in each part that is split off, in (0, 1).
        parts: Parts that are split off, in this order: `test`, `val`.
        train_size: Training images that are kept of the rest: a share in (0, 1] or a count; None keeps all.
    """

    rule: str
    seed: int
    share: float
    parts: tuple[str, ...]
    train_size: float | None = None

    def seed_of(self, part: str) -> int:
        """Return the seed of a part: the test part is the same for every `seed`."""
        return 0 if part == "test" else self.seed

    def plain(self) -> dict[str, Any]:
        """Return the rule as plain data; `rule_of` is the inverse."""
        return asdict(self) | {"parts": list(self.parts)}


class Split(NamedTuple):
    """Parts of a data set, and where they come from."""

    sets: dict[str, AnySet]
    """`train`, `val` and `test`; a part that the data set lacks is missing."""
    places: dict[str, Tensor]
    """Indices (int64, rising) among the training images before the split, of `train` and of each part split off."""
    rule: SplitRule

    def record(self, source: AnySet) -> dict[str, Any]:
        """Return, as plain data, the rule, and the number and the digest of the training images.

        Args:
            source: The training images before the split.
        """
        used = self.places["train"]
        return self.rule.plain() | {"images": len(used), "digest": digest(names_of(source), used)}


def split(parts: Parts, share: float, train_size: float | None, seed: int) -> Split:
    """Return `train`, `val` and `test`; split what is missing from the training images.

    Args:
        parts: The images that the reader found.
        share: Share of the training images for validation, and for test where there are none.
        train_size: A share in (0, 1] or a count of the training images that remain; None keeps all.
        seed: Seed of the validation part and of the smaller training set. The test images do not depend on it.

    Raises:
        UserError: There are fewer images than `train_size`, or a class has too few.
    """
    given = {name: part for name, part in (("val", parts.val), ("test", parts.test)) if part is not None}
    name = "hash" if isinstance(parts.train, FileSet) else "stratified"
    missing = tuple(part for part in ("test", "val") if part not in given)
    rule = SplitRule(name, seed, share, missing, train_size)
    if parts.train is None:
        return Split(given, {}, rule)
    places = places_of(parts.train, rule)
    sets = given | {part: parts.train.subset(where) for part, where in places.items()}
    return Split({part: sets[part] for part in ("train", "val", "test")}, places, rule)


def places_of(train: AnySet, rule: SplitRule) -> dict[str, Tensor]:
    """Return the indices (int64, rising) of the images of `train` and of each part of a rule.

    Raises:
        UserError: There are fewer images than `train_size`, or a class has too few.
    """
    names = names_of(train) if rule.rule == "hash" else []
    rest, found = torch.arange(len(train.targets)), {}
    for part in rule.parts:
        seed = rule.seed_of(part)
        targets = train.targets[rest]
        if rule.rule == "hash":
            kept, taken = hash_split([names[i] for i in rest.tolist()], targets, rule.share, seed, part)
        else:
            kept, taken = stratified_split(targets, rule.share, seed)
        found[part], rest = rest[taken], rest[kept]
    return {"train": rest[_smaller(train.targets[rest], rule.train_size, rule.seed)]} | found


def hash_split(names: Sequence[str], targets: Tensor, share: float, seed: int, part: str) -> tuple[Tensor, Tensor]:
    """Split a part off by a hash of each file's name, so that new files do not change the part of old ones.

    A file is in the part if `hash_of` is below `share`. If a class has no such file, its file of the smallest hash is
    in the part. This exception can end as files are added: that file then returns to the rest. No file of the rest
    enters the part.

    Args:
        names: Relative names of the files, `class/file`.
        targets: int64 (N,), class numbers.
        share: Expected share of the part, in (0, 1).
        seed: Another seed gives another part.
        part: Name of the part. Parts of different names are independent.

    Returns:
        The indices of the rest and of the part, int64, rising.

    Raises:
        UserError: A class has no file for the rest.
    """
    if not names:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    values = np.array([hash_of(name, seed, part) for name in names])
    chosen, classes = values < share, targets.numpy()
    order = np.lexsort((values, classes))
    chosen[order[np.flatnonzero(np.diff(classes[order], prepend=-1))]] = True  # the smallest hash of each class
    empty = np.setdiff1d(classes, classes[~chosen])
    if empty.size:
        folder = names[int(np.flatnonzero(classes == empty[0])[0])].split("/")[0]
        raise UserError(
            f"class '{folder}' has too few training images to split off a {part} part: add images to it, "
            f"or a folder {part}/"
        )
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))


def hash_of(name: str, seed: int, part: str) -> float:
    """Return a number in [0, 1) that depends on the part, the seed and a relative name: 53 bits of a BLAKE2b hash."""
    text = unicodedata.normalize("NFC", f"{part}\n{seed}\n{name}")
    word = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(word, "big") >> 11) * 2.0**-53


def stratified_split(targets: Tensor, size: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split a part off at random, with the same share of every class.

    Args:
        targets: int64 (N,), class numbers.
        size: Size of the part: a share in (0, 1) or a whole number of images.
        seed: The same seed gives the same part.

    Returns:
        The indices of the rest and of the part, int64, each in rising order; together they are 0..N-1.

    Raises:
        UserError: A class has too few images for both.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, part = train_test_split(range(len(targets)), test_size=size, stratify=targets.numpy(), random_state=seed)
    except ValueError as error:
        raise UserError(
            f"{size} of {len(targets)} images cannot be split off with every class in its share ({error}): "
            "every class needs images enough for both parts"
        ) from None
    return torch.tensor(sorted(rest)), torch.tensor(sorted(part))


def names_of(images: AnySet) -> list[str]:
    """Return the name of each image within its set: the relative name of its file, or its index."""
    return images.names() if isinstance(images, FileSet) else [str(index) for index in range(len(images.targets))]


def digest(names: Sequence[str], places: Tensor) -> str:
    """Return the SHA-256 of the names at some places, in hexadecimal. The order of the names does not matter."""
    used = sorted(unicodedata.normalize("NFC", names[place]) for place in places.tolist())
    return hashlib.sha256("\n".join(used).encode("utf-8", "surrogateescape")).hexdigest()


def rule_of(record: Mapping[str, Any]) -> SplitRule:
    """Return the rule of a record that `Split.record` made."""
    values = {name: record[name] for name in ("rule", "seed", "share", "train_size")}
    return SplitRule(**values, parts=tuple(record["parts"]))


def _smaller(targets: Tensor, size: float | None, seed: int) -> Tensor:
    """Return the indices of a smaller training set."""
    images = len(targets)
    if size is None or (isinstance(size, float) and size == 1.0) or size == images:
        return torch.arange(images)
    if size <= 0 or size > images or (isinstance(size, float) and size > 1):
        raise UserError(f"train_size is {size}, there are {images} training images: write a count or a share up to 1.0")
    return stratified_split(targets, size, seed)[1]
