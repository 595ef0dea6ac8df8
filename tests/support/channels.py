"""Networks and helpers for tests of the removal of channels."""

import torch
from torch import Tensor, nn

from dasc.networks import Kept, channel_groups, kept_positions, place_groups
from dasc.pruning import Scope
from dasc.pruning.channels import ChannelL1, remove_channels


class Flattened(nn.Sequential):
    """A convolution without BatchNorm whose output is flattened: 16 positions of the linear layer a channel."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 12), nn.Linear(12, 10)
        )


class Joined(nn.Module):
    """Two convolutions whose outputs are concatenated, as in a DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.fc = nn.Linear(10, 10)

    def forward(self, images: Tensor) -> Tensor:
        one = self.one(images).relu()
        joined = self.norm(torch.cat([one, self.two(one)], 1)).relu()
        logits: Tensor = self.fc(joined.mean((2, 3)))
        return logits


class OneLayer(nn.Sequential):
    """A network without channels that could be removed."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 64, num_classes))
        self.num_classes = num_classes


def with_values(network: nn.Module) -> nn.Module:
    """Give BatchNorm weights and statistics that differ between channels."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean):
                    assert tensor is not None
                    tensor.uniform_(-0.5, 1.5)
                assert layer.running_var is not None
                layer.running_var.uniform_(0.5, 1.5)
    return network


@torch.no_grad()
def zero_removed(network: nn.Module, kept: Kept) -> None:
    """Zero what makes the channels that are not kept: rows of weights, biases, BatchNorm's factor and offset."""
    for layer_name, axes in kept.items():
        layer = network.get_submodule(layer_name)
        for places in [axes["out"]] if "out" in axes else []:
            for name, tensor in layer.named_parameters(recurse=False):
                if name in ("weight", "bias"):
                    gone = [k for k in range(len(tensor)) if k not in places]
                    tensor[gone] = 0


def remove(network: nn.Module, share: float, size: int = 8, scope: Scope = "layer", round_to: int = 1) -> Kept:
    """Remove channels by L1, and return the positions that were kept."""
    groups = place_groups(network, channel_groups(network, (size, size)))
    kept = kept_positions(network, groups, ChannelL1(scope, round_to).keep(network, groups, share))
    remove_channels(network, kept, share)
    return kept


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of all tensors of a network."""
    return {name: value.shape for name, value in network.state_dict().items()}
