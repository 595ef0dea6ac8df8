"""MobileNetV2 for small images."""

from torch import nn
from torchvision.models import MobileNetV2
from torchvision.models.mobilenetv2 import InvertedResidual

from dasc.errors import UserError
from dasc.networks.auxiliary import AuxiliaryPlace

_SETTING = [  # expansion, channels, blocks, stride: the paper's table 2, but for stride 1 in the second row
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


class CifarMobileNetV2(MobileNetV2):  # type: ignore[misc]  # torchvision ships no types
    """MobileNetV2 of Sandler et al. 2018 for small images: stride 1 in the stem and in the group of 24 channels.

    32x32 images come to 4x4 before the pooling. Parameters are torchvision's, under the same keys: 2,236,682 for 10
    classes, 2,351,972 for 100.

    Args:
        num_classes: Number of classes.
        width: Factor of all channels, over 0; they are rounded to multiples of 8.
        dropout: Share of the features that is dropped before the last layer while training, in [0, 1).

    Raises:
        UserError: The width or the dropout is out of its range.

    References:
        https://arxiv.org/abs/1801.04381
    """

    def __init__(self, num_classes: int, width: float = 1.0, dropout: float = 0.2) -> None:
        if not width > 0:
            raise UserError(f"width is {width}: write a number over 0")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout is {dropout}: write a number from 0 to below 1")
        super().__init__(num_classes, width_mult=width, inverted_residual_setting=_SETTING, dropout=dropout)
        self.num_classes = num_classes
        self.width = width
        self.dropout = dropout
        self.features[0][0].stride = (1, 1)

    def auxiliary_place(self) -> AuxiliaryPlace:
        """Take blocks after the last one (320 channels), before the 1x1 convolution to 1280."""
        return mobilenet_place(self)


def mobilenet_place(network: MobileNetV2) -> AuxiliaryPlace:
    """Return the place for auxiliary blocks in a MobileNetV2 of torchvision."""
    last = [block for block in network.features if isinstance(block, InvertedResidual)][-1]
    return AuxiliaryPlace(network.features, lambda: _block(last.out_channels), before=1)


def _block(channels: int) -> InvertedResidual:
    block = InvertedResidual(channels, channels, stride=1, expand_ratio=6)
    for module in block.modules():
        if isinstance(module, nn.Conv2d):  # as MobileNetV2 itself
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return block
