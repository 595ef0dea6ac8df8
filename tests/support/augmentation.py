"""RandAugment's operations as torchvision applies them to one image."""

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from dasc.augment.operations import BINS

TORCHVISION = v2.RandAugment()


def reference(image: Tensor, name: str, bin_: int, negative: bool) -> Tensor:
    """Apply one operation of torchvision's RandAugment, by its name, to a uint8 image (3, H, W) at bin 0..30."""
    magnitudes, signed = TORCHVISION._AUGMENTATION_SPACE[name]
    table = magnitudes(BINS, *image.shape[-2:])
    value = 0.0 if table is None else float(table[bin_])
    if signed and negative:
        value *= -1
    result: Tensor = TORCHVISION._apply_image_or_video_transform(
        image, name, value, InterpolationMode.NEAREST, {"others": None}
    )
    return result
