"""Metrics of the table that are computed together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dasc.metrics.spec import OutputShape
from dasc.metrics.table import VIEWS, select_metrics
from dasc.networks import features_and_logits, last_linear


class MetricSet:
    """Metrics of one network, from one forward pass per batch and view.

    Metrics that need what the network or the data do not have are left out.

    Args:
        network: Maps normalised images (B, 3, H, W) to logits (B, num_classes), in eval mode.
        num_classes: Number of classes.
        device: The device of the network. Metrics with float64 sums are not supported on Apple's GPUs: there all
            metrics are kept on the CPU.
        names: Names of the table; None: all.
        has_views: Whether augmented views are available.

    Raises:
        UserError: A name is not in the table.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        device: torch.device,
        names: Sequence[str] | None = None,
        has_views: bool = False,
    ) -> None:
        self._network = network
        self._device = torch.device("cpu") if device.type == "mps" else device
        head = last_linear(network)
        shape = OutputShape(num_classes, None if head is None else head.in_features, VIEWS)
        available = {"logits": True, "features": head is not None, "views": has_views}
        specs = {name: spec for name, spec in select_metrics(names).items() if available[spec.needs]}
        self._needs = {name: spec.needs for name, spec in specs.items()}
        self._metrics = {name: spec.make(shape).to(self._device) for name, spec in specs.items()}

    @property
    def views(self) -> int:
        """Number of augmented views that the metrics need of each batch."""
        return VIEWS if "views" in self._needs.values() else 0

    def update(self, images: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            images: Normalised images (B, 3, H, W), in the dtype of the network.
            targets: Classes (B,), int64.
        """
        features, logits = features_and_logits(self._network, images)
        inputs = {"logits": logits.to(self._device)}
        if "features" in self._needs.values() and features is not None:
            inputs["features"] = features.to(self._device)
        targets = targets.to(self._device)
        for name, metric in self._metrics.items():
            if self._needs[name] != "views":
                metric.update(inputs[self._needs[name]], targets)

    def update_view(self, images: Tensor, view: int) -> None:
        """Add an augmented view of a batch.

        Args:
            images: Normalised images (B, 3, H, W), in the dtype of the network.
            view: Number of the view, 0 to `views` - 1.
        """
        logits = self._network.forward(images).to(self._device)
        for name, metric in self._metrics.items():
            if self._needs[name] == "views":
                metric.update(logits, view)

    def compute(self) -> Mapping[str, Tensor]:
        """Return the metrics by name in the order of the table, float32 scalars, over all processes."""
        return {name: metric.compute().float() for name, metric in self._metrics.items()}
