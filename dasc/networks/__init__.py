"""Image classifiers as plain `nn.Module`s: uint8 images are normalised before they come here."""

from dasc.networks.auxiliary import AuxiliaryPlace, auxiliary_blocks, auxiliary_place, set_auxiliary_blocks
from dasc.networks.axes import Axis, axes_of, axis_size, set_axis_size, tensors_of
from dasc.networks.channel_graph import channel_groups
from dasc.networks.channels import ChannelGroup, Kept, Part, PlacedGroup, kept_positions, place_groups
from dasc.networks.counts import Count, count, macs_per_weight, prunable_weights, short
from dasc.networks.describe import build_network, describe_network
from dasc.networks.features import features_and_logits, last_linear
from dasc.networks.mobilenet import CifarMobileNetV2
from dasc.networks.parts import forward_in_parts
from dasc.networks.pretrained import Pretrained, deferred_weights, load_pretrained
from dasc.networks.resnet import CifarResNet
from dasc.networks.shufflenet import CifarShuffleNetV2
from dasc.networks.torchvision import TorchvisionNetwork

__all__ = (
    "AuxiliaryPlace",
    "Axis",
    "ChannelGroup",
    "CifarMobileNetV2",
    "CifarResNet",
    "CifarShuffleNetV2",
    "Count",
    "Kept",
    "Part",
    "PlacedGroup",
    "Pretrained",
    "TorchvisionNetwork",
    "auxiliary_blocks",
    "auxiliary_place",
    "axes_of",
    "axis_size",
    "build_network",
    "channel_groups",
    "count",
    "deferred_weights",
    "describe_network",
    "features_and_logits",
    "forward_in_parts",
    "kept_positions",
    "last_linear",
    "load_pretrained",
    "macs_per_weight",
    "place_groups",
    "prunable_weights",
    "set_auxiliary_blocks",
    "set_axis_size",
    "short",
    "tensors_of",
)
