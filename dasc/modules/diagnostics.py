"""What a test says of a network beside its accuracy."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dasc.metrics import ClassDiscrimination, TeacherStddev
from dasc.networks import features_and_logits, last_linear

VIEWS = 5
"""Fixed draws of the augmentation that a test image is seen under."""


class Diagnostics:
    """Class discrimination in both readings, and the spread of the predictions over draws of the augmentation.

    Args:
        network: Maps normalised images (B, 3, H, W) to logits (B, num_classes), in eval mode.
        num_classes: Number of classes.
        device: Where it is; sums are in float64, which Apple's GPUs lack: there they are kept on the CPU.
    """

    def __init__(self, network: nn.Module, num_classes: int, device: torch.device) -> None:
        self._network = network
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._prediction = ClassDiscrimination(num_classes).to(self._device)
        head = last_linear(network)
        self._latent = None
        if head is not None:
            latent = ClassDiscrimination(num_classes, "latent", num_features=head.in_features)
            self._latent = latent.to(self._device)
        self._stddev = TeacherStddev(num_classes, VIEWS).to(self._device)

    def update(self, images: Tensor, targets: Tensor) -> Tensor:
        """Add normalised images (B, 3, H, W) with their classes (B,), and return their logits, float32."""
        features, logits = features_and_logits(self._network, images)
        targets = targets.to(self._device)
        self._prediction.update(logits.to(self._device), targets)
        if self._latent is not None and features is not None:
            self._latent.update(features.to(self._device), targets)
        return logits.float()

    def update_view(self, images: Tensor, view: int) -> None:
        """Add the same images as draw number `view` of the augmentation made them."""
        self._stddev.update(self._network.forward(images).to(self._device), view)

    def compute(self) -> Mapping[str, Tensor]:
        """Return the metrics by name, over all processes."""
        values = {"class_discrimination": self._prediction.compute()}
        if self._stddev.update_called:
            values["teacher_stddev"] = self._stddev.compute()
        if self._latent is not None:
            values["latent_discrimination"] = self._latent.compute()
        return {name: value.float() for name, value in values.items()}
