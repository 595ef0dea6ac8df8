"""What a network knows of images before its last layer."""

from torch import Tensor, nn


def last_linear(network: nn.Module) -> nn.Linear | None:
    """Return the network's last linear layer, which makes the logits; None where it has none."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def features_and_logits(network: nn.Module, images: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the penultimate features (B, F), None where the last layer is not linear, and the logits (B, classes)."""
    layer = last_linear(network)
    if layer is None:
        return None, network(images)
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        logits: Tensor = network.forward(images)  # a compiled network may have no hooks
    finally:
        handle.remove()
    return seen[-1].flatten(1), logits
