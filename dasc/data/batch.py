"""What a loader hands out."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch of one process."""

    images: Tensor
    """uint8 (B, 3, H, W) from the loader, normalised float32 in a step."""
    targets: Tensor
    """int64 (B,), class numbers."""
    indices: Tensor
    """int64 (B,), the images' places in their split."""
    number: int
    """Place of the batch in its epoch, from 0."""
