"""Residual networks for small images."""

from collections.abc import Iterator
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.networks.auxiliary import AuxiliaryPlace
from dasc.networks.axes import Axis
from dasc.networks.channels import ChannelGroup, Part


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

    def channel_groups(self) -> list[ChannelGroup]:
        """Return the channels within each block, and those that are added along the shortcuts.

        With shortcut A, a channel of a group of blocks continues in the later ones, and the new ones of a group of
        blocks are those that its shortcut pads. Torch-Pruning does not know the padding: it would remove others.
        """
        inner = [
            ChannelGroup((Part(f"{name}.conv1"), Part(f"{name}.bn1"), Part(f"{name}.conv2", "in")))
            for name, block in self.named_modules()
            if isinstance(block, BasicBlock)
        ]
        return [*inner, *(ChannelGroup(tuple(self._parts_along(stream))) for stream in range(3))]

    def _parts_along(self, first: int) -> Iterator[Part]:
        """Yield the layers that have the channels which are new in group of blocks `first` (from 0)."""
        if self.shortcut == "B" or first == 0:
            positions = [(k,) for k in range(self.conv1.out_channels if first == 0 else self._width(first))]
        else:
            padding, width = self._padding(first), self._width(first)
            new = [*range(padding.before), *range(width - padding.after, width)]
            positions = [(k,) for k in new]
            name = f"layer{first + 1}.0.shortcut"
            yield Part(name, "before", tuple((k,) if k < padding.before else () for k in range(len(new))))
            yield Part(name, "after", tuple((k,) if k >= 0 else () for k in range(-padding.before, padding.after)))
        for group in range(first, first + 1 if self.shortcut == "B" else 3):
            if group > first:
                positions = [(k + self._padding(group).before,) for (k,) in positions]
            for name, axis in self._layers_along(group):
                yield Part(name, axis, tuple(positions))

    def _padding(self, group: int) -> "_PadShortcut":
        padding = self.get_submodule(f"layer{group + 1}.0.shortcut")
        assert isinstance(padding, _PadShortcut)
        return padding

    def _width(self, group: int) -> int:
        return self.get_submodule(f"layer{group + 1}.0.bn2").get_buffer("running_mean").numel()

    def _layers_along(self, group: int) -> Iterator[tuple[str, str]]:
        """Yield the layers, with their axes, that return or read the sums of a group of blocks."""
        if group == 0:
            yield from (("conv1", "out"), ("bn1", "out"))
        elif self.shortcut == "B":
            yield from ((f"layer{group + 1}.0.shortcut.{k}", "out") for k in (0, 1))
        blocks = [name for name, block in self.named_modules() if isinstance(block, BasicBlock)]
        own = [name for name in blocks if name.startswith(f"layer{group + 1}.")]
        for name in own:
            yield from ((f"{name}.conv2", "out"), (f"{name}.bn2", "out"))
        readers = own if group == 0 else own[1:]
        if group < 2:
            readers = [*readers, f"layer{group + 2}.0"]
            if self.shortcut == "B":
                yield f"layer{group + 2}.0.shortcut.0", "in"
        else:
            yield "fc", "in"
        yield from ((f"{name}.conv1", "in") for name in readers)


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

    channel_axes = {"before": Axis(("before",)), "after": Axis(("after",))}  # noqa: RUF012

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
