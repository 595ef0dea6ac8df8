"""Fixed, stratified parts of a data set."""

import torch
from torch import Tensor

from dasc.data.sets import AnySet, Parts
from dasc.errors import UserError


def stratified_split(targets: Tensor, size: float, seed: int) -> tuple[Tensor, Tensor]:
    """Carve a part off that has every class in its share.

    Args:
        targets: int64 (N,), class numbers.
        size: Size of the part: a share in (0, 1) or a whole number of images.
        seed: The same seed carves the same part.

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
            f"{size} of {len(targets)} images cannot be carved with every class in its share ({error}): "
            "every class needs images enough for both parts"
        ) from None
    return torch.tensor(sorted(rest)), torch.tensor(sorted(part))


def carve(parts: Parts, validation: float, train_size: float | None, seed: int) -> dict[str, AnySet]:
    """Return `train`, `val` and `test`, carving what is missing from the training images.

    Args:
        parts: What the reader found.
        validation: Share of the training images for validation, and for test where there are none.
        train_size: A share in (0, 1] or a whole number of the training images that remain; None keeps all.
        seed: Seed of the validation split and of the smaller training set. The test images do not depend on it.

    Raises:
        UserError: There are fewer images than asked for, or a class has too few.
    """
    train, val, test = parts
    if test is None:
        rest, carved = stratified_split(train.targets, validation, seed=0)
        train, test = train.subset(rest), train.subset(carved)
    if val is None:
        rest, carved = stratified_split(train.targets, validation, seed)
        train, val = train.subset(rest), train.subset(carved)
    return {"train": _smaller(train, train_size, seed), "val": val, "test": test}


def _smaller(train: AnySet, size: float | None, seed: int) -> AnySet:
    images = len(train.targets)
    if size is None or (isinstance(size, float) and size == 1.0) or size == images:
        return train
    if size <= 0 or size > images or (isinstance(size, float) and size > 1):
        raise UserError(f"train_size is {size}, there are {images} training images: write a count or a share up to 1.0")
    return train.subset(stratified_split(train.targets, size, seed)[1])
