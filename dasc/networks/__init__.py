"""Image classifiers as plain `nn.Module`s: uint8 images are normalised before they come here."""

from dasc.networks.counts import Count, count, macs_per_weight, prunable_weights, short
from dasc.networks.describe import build_network, describe_network
from dasc.networks.resnet import CifarResNet
from dasc.networks.torchvision import TorchvisionNetwork

__all__ = (
    "CifarResNet",
    "Count",
    "TorchvisionNetwork",
    "build_network",
    "count",
    "describe_network",
    "macs_per_weight",
    "prunable_weights",
    "short",
)
