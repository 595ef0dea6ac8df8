"""The classifiers of torchvision."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision import models

from dasc.errors import UserError, unknown_name
from dasc.networks.auxiliary import AuxiliaryPlace
from dasc.networks.channels import ChannelGroup, with_prefix
from dasc.networks.mobilenet import mobilenet_place
from dasc.networks.pretrained import Pretrained, weights_are_deferred
from dasc.networks.shufflenet import shufflenet_groups, shufflenet_place
from dasc.preprocessing import Preprocessing

TWO_OUTPUTS = {"googlenet", "inception_v3"}  # they return auxiliary logits while training


class TorchvisionNetwork(nn.Module):
    """A classifier by its torchvision name; its own keys stand under `model.`.

    Args:
        num_classes: Number of classes.
        name: A name of `torchvision.models.list_models(module=torchvision.models)`, such as `mobilenet_v2`.
        weights: Name of pretrained weights, such as `IMAGENET1K_V2` or `DEFAULT`, or path of a file with a state_dict;
            None starts from scratch. Where their classes are not `num_classes`, the last layer starts from scratch.

    Attributes:
        preprocessing: Mean, standard deviation and interpolation that the pretrained weights expect; None without any.

    Raises:
        UserError: torchvision has no such network or no such weights, they cannot be downloaded or read, or are of
            another network.
    """

    def __init__(self, num_classes: int, name: str, weights: str | None = None) -> None:
        super().__init__()
        known = set(models.list_models(module=models)) - TWO_OUTPUTS
        if name in TWO_OUTPUTS:
            raise UserError(
                f"model.network.name must be a network with one output, got '{name}', which has two in training: "
                "use resnet50 or efficientnet_b0"
            )
        if name not in known:
            raise UserError(unknown_name("torchvision network", name, known))
        self.num_classes = num_classes
        self.name = name
        self.weights = weights
        self.model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
        self.pretrained = None if weights is None else Pretrained(name, weights)
        self.preprocessing: Preprocessing | None = None if self.pretrained is None else self.pretrained.preprocessing()
        if not weights_are_deferred():
            self.load_pretrained()

    def load_pretrained(self) -> None:
        """Load the pretrained weights, if there are any; the constructor does so outside `deferred_weights`.

        Raises:
            UserError: They cannot be downloaded or read, or are of another network.
        """
        if self.pretrained is not None:
            self.pretrained.load_into(self.model)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.model(images)
        return logits

    def auxiliary_place(self) -> AuxiliaryPlace:
        """Take blocks after the last one of a ResNet, MobileNetV2 or ShuffleNetV2.

        Raises:
            UserError: The network is another one.
        """
        for kind, place in _PLACES.items():
            if isinstance(self.model, kind):
                return place(self.model)
        raise UserError(
            f"TorchvisionNetwork has no place for auxiliary blocks in {self.name}, only in ResNets, MobileNetV2 and "
            "ShuffleNetV2: write a subclass with the method `auxiliary_place(self) -> dasc.networks.AuxiliaryPlace`, "
            "or leave the column auxiliary out"
        )

    def channel_groups(self) -> list[ChannelGroup] | None:
        """Return the groups of a ShuffleNetV2; None for other networks, whose groups Torch-Pruning finds."""
        return (
            with_prefix("model", shufflenet_groups(self.model)) if isinstance(self.model, models.ShuffleNetV2) else None
        )


def _resnet_place(network: models.ResNet) -> AuxiliaryPlace:
    kind = type(network.layer4[0])
    channels = 512 * kind.expansion
    settings = {"groups": network.groups, "base_width": network.base_width}

    def block() -> nn.Module:
        made: nn.Module = kind(channels, 512, **settings)
        for module in made.modules():
            if isinstance(module, nn.Conv2d):  # as ResNet itself
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return made

    return AuxiliaryPlace(network.layer4, block)


_PLACES: dict[type[nn.Module], Callable[[Any], AuxiliaryPlace]] = {
    models.ResNet: _resnet_place,
    models.MobileNetV2: mobilenet_place,
    models.ShuffleNetV2: shufflenet_place,
}
