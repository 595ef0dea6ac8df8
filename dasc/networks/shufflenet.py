"""ShuffleNetV2 for small images."""

from typing import Literal

from torch import nn
from torchvision.models import ShuffleNetV2
from torchvision.models.shufflenetv2 import InvertedResidual

from dasc.errors import UserError, unknown_name
from dasc.networks.auxiliary import AuxiliaryPlace
from dasc.networks.channels import ChannelGroup, Part

Width = Literal["x0_5", "x1_0", "x1_5", "x2_0"]

_CHANNELS: dict[str, list[int]] = {  # the paper's table 5
    "x0_5": [24, 48, 96, 192, 1024],
    "x1_0": [24, 116, 232, 464, 1024],
    "x1_5": [24, 176, 352, 704, 1024],
    "x2_0": [24, 244, 488, 976, 2048],
}


class CifarShuffleNetV2(ShuffleNetV2):  # type: ignore[misc]  # torchvision ships no types
    """ShuffleNetV2 of Ma et al. 2018 for small images: stride 1 in the stem, and no pooling after it.

    32x32 images come to 4x4 before the pooling. Parameters are torchvision's, under the same keys: 1,263,854 for 10
    classes, 1,356,104 for 100.

    Args:
        num_classes: Number of classes.
        width: Which of the paper's widths: `x0_5`, `x1_0`, `x1_5` or `x2_0`.

    Raises:
        UserError: There is no such width.

    References:
        https://arxiv.org/abs/1807.11164
    """

    def __init__(self, num_classes: int, width: Width = "x1_0") -> None:
        if width not in _CHANNELS:
            raise UserError(unknown_name("width of ShuffleNetV2", str(width), _CHANNELS))
        super().__init__([4, 8, 4], _CHANNELS[width], num_classes)
        self.num_classes = num_classes
        self.width = width
        self.conv1[0].stride = (1, 1)
        self.maxpool = nn.Identity()

    def auxiliary_place(self) -> AuxiliaryPlace:
        """Take blocks after the last one (464 channels), before conv5."""
        return shufflenet_place(self)

    def channel_groups(self) -> list[ChannelGroup]:
        """Return the channels within the right branch of each block, and those of conv5."""
        return shufflenet_groups(self)


def shufflenet_place(network: ShuffleNetV2) -> AuxiliaryPlace:
    """Return the place for auxiliary blocks in a ShuffleNetV2 of torchvision."""
    channels = network.conv5[0].in_channels
    return AuxiliaryPlace(network.stage4, lambda: InvertedResidual(channels, channels, stride=1))


def shufflenet_groups(network: ShuffleNetV2) -> list[ChannelGroup]:
    """Return the groups of a ShuffleNetV2 of torchvision: the shuffled inputs and outputs of its blocks stay whole.

    Torch-Pruning fails on the shuffle: https://github.com/VainF/Torch-Pruning/issues/45.
    """
    groups = [
        ChannelGroup((*(Part(f"{name}.branch2.{k}") for k in (0, 1, 3, 4)), Part(f"{name}.branch2.5", "in")))
        for name, block in network.named_modules()
        if isinstance(block, InvertedResidual)
    ]
    return [*groups, ChannelGroup((Part("conv5.0"), Part("conv5.1"), Part("fc", "in")))]
