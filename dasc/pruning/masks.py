"""Masks: which weights are zero, and keeping them zero."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.networks import prunable_weights


class Masks(nn.Module):
    """One bool buffer for each prunable weight, under the weight's own name, all True at first.

    They exist from the start, so that a state_dict has one shape at every sparsity.

    Args:
        network: The network to prune.
        skip: Names of layers that are not pruned, such as `conv1` or `layer1`; a name covers all below it.

    Raises:
        UserError: A name in `skip` covers no prunable layer.
    """

    def __init__(self, network: nn.Module, skip: Iterable[str] = ()) -> None:
        super().__init__()
        self._skip = tuple(skip)
        for layer in self._skip:
            if not any(_covers(layer, name) for name in prunable_weights(network)):
                raise UserError(
                    f"skip names '{layer}', but the network has no convolution or linear layer of that name"
                )
        self.follow(network)

    def follow(self, network: nn.Module) -> None:
        """Keep to the weights that the network has now: new ones get masks, all True; those that are gone lose them.

        A weight of another shape than its mask is a new one.
        """
        weights = prunable_weights(network)
        known = {name: mask.shape for name, mask in self.by_name().items()}
        for name in known.keys() - weights.keys():
            self._remove(name)
        for name, weight in weights.items():
            if known.get(name) != weight.shape and not any(_covers(layer, name) for layer in self._skip):
                self._place(name, torch.ones_like(weight, dtype=torch.bool, memory_format=torch.contiguous_format))

    def _place(self, name: str, mask: Tensor) -> None:
        *path, leaf = name.split(".")
        parent: nn.Module = self
        for part in path:  # not add_module: a layer may be called as a method of this class is
            child = parent._modules.get(part) or nn.Module()
            parent._modules[part] = child
            parent = child
        parent.register_buffer(leaf, mask)

    def _remove(self, name: str) -> None:
        path, _, leaf = name.rpartition(".")
        delattr(self.get_submodule(path), leaf)
        while path and not list(self.get_submodule(path).buffers()):
            path, _, child = path.rpartition(".")
            del self.get_submodule(path)._modules[child]

    def replace(self, name: str, mask: Tensor) -> None:
        """Set the mask of a weight that has another shape now."""
        path, _, leaf = name.rpartition(".")
        self.get_submodule(path).register_buffer(leaf, mask)

    def by_name(self) -> dict[str, Tensor]:
        """Return the masks by the names of their weights."""
        return dict(self.named_buffers())

    def weights_of(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights of `network` that the masks are for."""
        masks = self.by_name()
        return {name: weight for name, weight in prunable_weights(network).items() if name in masks}

    @torch.no_grad()
    def set(self, masks: Mapping[str, Tensor]) -> None:
        """Take over new masks, in place."""
        for name, mask in self.by_name().items():
            mask.copy_(masks[name])

    def reached(self, sparsity: float, layerwise: bool) -> bool:
        """Return whether exactly as many weights are pruned as a criterion prunes for this target.

        Args:
            sparsity: The target, in [0, 1).
            layerwise: `Criterion.layerwise`: whether the target holds in each layer, or in all of them together.
        """
        masks = list(self.by_name().values())
        if layerwise:
            return all(_off(mask) == round(sparsity * mask.numel()) for mask in masks)
        return sum(map(_off, masks)) == round(sparsity * sum(mask.numel() for mask in masks))

    def sparsity(self) -> float:
        """Return the share of weights that are off."""
        masks = list(self.by_name().values())
        return sum(map(_off, masks)) / max(sum(mask.numel() for mask in masks), 1)


def _covers(layer: str, name: str) -> bool:
    return f"{name}.".startswith(f"{layer}.")


def _off(mask: Tensor) -> int:
    return mask.numel() - int(torch.count_nonzero(mask))
