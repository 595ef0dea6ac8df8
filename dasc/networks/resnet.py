"""Residual networks for small images."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.networks.auxiliary import AuxiliaryPlace


class CifarResNet(nn.Module):
    """ResNet of He et al. 2016, section 4.2, for small images: three groups of 16, 32 and 64 channels.

    Args:
        num_classes: Number of classes.
        depth: Number of weighted layers, 6n + 2 for n blocks a group: 20, 32, 44, 56, 110.
        shortcut: Where the shape changes, `A` subsamples and pads with zero channels (no parameters, the paper's);
            `B` projects with a 1x1 convolution. They differ on CIFAR-100: say which one was used.

    Raises:
        UserError: The depth is not 6n + 2.

    References:
        https://arxiv.org/abs/1512.03385
    """

    def __init__(self, num_classes: int, depth: int = 20, shortcut: Literal["A", "B"] = "A") -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise UserError(f"depth {depth} is not 6n + 2: CifarResNet has depths such as 20, 32, 44, 56, 110")
        self.num_classes = num_classes
        self.depth = depth
        self.shortcut = shortcut
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _group(16, 16, blocks, stride=1, shortcut=shortcut)
        self.layer2 = _group(16, 32, blocks, stride=2, shortcut=shortcut)
        self.layer3 = _group(32, 64, blocks, stride=2, shortcut=shortcut)
        self.fc = nn.Linear(64, num_classes)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, num_classes)."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits

    def auxiliary_place(self) -> AuxiliaryPlace:
        """Take blocks of 64 channels, two layers each, after the last one."""
        return AuxiliaryPlace(self.layer3, lambda: _initialise(BasicBlock(64, 64, 1, self.shortcut)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: Literal["A", "B"]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = (
                _PadShortcut(channels - channels_in, stride)
                if shortcut == "A"
                else nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class _PadShortcut(nn.Module):
    """Shortcut A: every `stride`-th pixel, and `extra` channels of zeros, half of them on each side."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.before = extra // 2
        self.after = extra - self.before
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _group(channels_in: int, channels: int, blocks: int, stride: int, shortcut: Literal["A", "B"]) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)))


def _initialise(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return module
