"""What a loader hands out."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch of one process."""

    images: Tensor
    """uint8 (B, 3, H, W) from the loader, normalised floating-point in a step; (n, B, 3, H, W) with n views."""
    targets: Tensor
    """int64 (B,), class numbers."""
    indices: Tensor
    """int64 (B,), the images' places in their split."""
    number: int
    """Place of the batch in its epoch, from 0."""
    mixed_targets: Tensor | None = None
    """float32 (B, num_classes), shares of the classes in images that MixUp or CutMix made; None without them."""
    magnitudes: Tensor | None = None
    """int64 (n, B), each view's bin, where images are (n, B, 3, H, W): n augmented views of the same images."""
    unaugmented: Tensor | None = None
    """uint8 (B, 3, H, W), the images as they were before they were normalised; in tests only."""
