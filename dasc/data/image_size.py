"""The default image size of a folder, from the headers of some of its files."""

from collections.abc import Sequence
from statistics import median_low

from dasc.data.decode import size_of
from dasc.errors import UserError

LARGEST = 224
"""Longest side of images whose own size is kept, and the largest default size; ImageNet's networks have it."""

SAMPLED = 256
"""Headers at most that are read."""


def choose_size(paths: Sequence[str]) -> tuple[tuple[int, int], str]:
    """Choose the size that the images of a folder are resized to, from at most 256 headers evenly through `paths`.

    Images of one size with sides up to 224 keep their size. All others become square, with the smaller of 224 and the
    median of their shorter sides. Headers that cannot be read are skipped.

    Args:
        paths: The files, at least one; the result depends on them and their order only.

    Returns:
        Height and width, and a phrase that says where they come from.

    Raises:
        UserError: None of the headers can be read.
    """
    count = min(len(paths), SAMPLED)
    sizes, errors = list[tuple[int, int]](), list[UserError]()
    for number in range(count):
        try:
            sizes.append(size_of(paths[number * len(paths) // count]))
        except UserError as error:
            errors.append(error)
    if not sizes:
        others = f", and {count - 1} other sampled files" if count > 1 else ""
        raise UserError(f"{errors[0]}{others}")
    read = f"{len(sizes)} sampled images" if len(sizes) > 1 else "1 image"
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGEST:
        return sizes[0], f"the size of {read}"
    median = median_low(min(size) for size in sizes)
    side = min(LARGEST, median)
    at_most = f", limited to {LARGEST}" if median > LARGEST else ""
    return (side, side), f"median short side of {read}: {median}{at_most}"
