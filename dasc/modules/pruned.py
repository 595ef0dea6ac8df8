"""A classifier whose small weights are zero."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules.classifier import Classifier
from dasc.networks import Kept
from dasc.pruning import L1, ChannelCriterion, ChannelL1, Criterion, Masks, Scope
from dasc.pruning.channels import check_removal, remove_channels, select_channels
from dasc.seeding import Stream, mix, run_seed
from dasc.stages import Stages


class PrunedClassifier(Classifier):
    """A classifier with masks: pruned weights are exactly zero after every optimizer step.

    The masks are buffers, made with the module and all True at first; `L1Pruning` sets them as a stage starts.

    Args:
        scope: Whether weights are compared within their `layer`, or across all layers (`global`).
        criterion: Selects the weights to prune; by default L1 with this scope.
        skip: Names of layers of the network that are not pruned, such as `conv1`; a name covers all below it.
            They keep their output channels, too.
        channel_criterion: Selects the channels to remove; by default ChannelL1 in each layer.
        **kwargs: These and `network` and `stages` are arguments of `Classifier`.

    Raises:
        UserError: A name in `skip` is no layer, both scope and criterion are set, or what `Classifier` raises.
    """

    prunes = True

    def __init__(
        self,
        network: nn.Module,
        stages: Stages,
        scope: Scope = "layer",
        criterion: Criterion | None = None,
        skip: list[str] | None = None,
        channel_criterion: ChannelCriterion | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, stages, **kwargs)
        if criterion is not None and scope != "layer":
            raise UserError(
                f"scope must not be set together with criterion, got scope {scope} and criterion "
                f"{type(criterion).__name__}: leave one of them out"
            )
        self.scope: Scope = scope
        self.criterion = L1(scope) if criterion is None else criterion
        self.skip = list(skip or ())
        self.channel_criterion = ChannelL1() if channel_criterion is None else channel_criterion
        self.masks = Masks(self.network, self.skip)
        self._pruned: list[tuple[nn.Parameter, Tensor]] = []
        self._keep_masks_from_ddp()

    def prepare(self, data: ImageData) -> None:
        """As `Classifier`; check that the channels of the table can be removed.

        Raises:
            UserError: They cannot, or what `Classifier` raises.
        """
        share = max(row.channels for row in self.stages)
        if share and self._prepared is not data:
            check_removal(self.network, self.channel_criterion, share, data.image_size, self.skip)
        super().prepare(data)

    def kept_channels(self, network: nn.Module, share: float, image_size: tuple[int, int]) -> Kept:
        """Return the positions that layers keep where a share of their original channels is removed.

        Args:
            network: The network, or a copy of it.
            share: The share, in [0, 1), with the channels that were removed before.
            image_size: Height and width of the images.

        Raises:
            UserError: The channels cannot be removed.
        """
        return select_channels(network, self.channel_criterion, share, image_size, self.skip)

    def preview_channels(self, network: nn.Module, share: float, image_size: tuple[int, int]) -> None:
        """Remove channels from a copy of the network."""
        remove_channels(network, self.kept_channels(network, share, image_size), share)

    def remove_channels(
        self, network: nn.Module, kept: Kept, share: float, optimizers: Iterable[Optimizer] = ()
    ) -> None:
        """Remove channels from the network, its masks and the optimizers; see `dasc.pruning.channels`."""
        remove_channels(network, kept, share, self.masks, optimizers)

    def on_structure_change(self) -> None:
        """Add masks for new layers, and remove those of layers that are gone."""
        self.masks.follow(self.network)
        self._keep_masks_from_ddp()
        self.follow_masks()

    def _keep_masks_from_ddp(self) -> None:
        # DDP would send all masks at every step; they change at boundaries only, and L1Pruning sends them then
        self._ddp_params_and_buffers_to_ignore = [f"masks.{name}" for name in self.masks.by_name()]

    @torch.no_grad()
    def masks_at(self, sparsity: float, stage: int) -> dict[str, Tensor]:
        """Return the masks of a target sparsity; pruned weights stay pruned.

        Args:
            sparsity: Share of pruned weights, in [0, 1).
            stage: Index of the stage that starts; random draws depend on it and on the run's seed only.
        """
        generator = torch.Generator().manual_seed(mix(Stream.PRUNING, run_seed(), stage))
        return self.criterion.masks(self.masks.weights_of(self.network), self.masks.by_name(), sparsity, generator)

    def set_masks(self, masks: Mapping[str, Tensor], optimizers: Iterable[Optimizer] = ()) -> None:
        """Take over masks: zero the weights under them, and what the optimizers keep of those weights."""
        self.masks.set(masks)
        self.follow_masks()
        for optimizer in optimizers:
            _clear_state(optimizer, self._pruned)

    def follow_masks(self) -> None:
        """Zero the weights under the masks as they are now, and after every step from now on."""
        weights = self.masks.weights_of(self.network)
        some_off = [(weights[name], mask) for name, mask in self.masks.by_name().items() if not bool(mask.all())]
        # one multiplication for all layers needs masks of the weights' dtype
        self._pruned = [(weight, mask.to(weight.dtype)) for weight, mask in some_off]
        self._zero_pruned()

    @torch.no_grad()
    def _zero_pruned(self, *_: Any) -> None:
        if self._pruned:
            weights, masks = zip(*self._pruned, strict=True)
            torch._foreach_mul_(weights, masks)

    def on_fit_start(self) -> None:
        """Take the masks of a loaded checkpoint into effect."""
        self.follow_masks()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """As `Classifier`; the optimizer zeroes the pruned weights at the end of each of its steps."""
        config = super().configure_optimizers()
        config["optimizer"].register_step_post_hook(self._zero_pruned)
        return config

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as if the pruned weights were not there: their gradients do not count in the norm."""
        if gradient_clip_val is not None:
            for weight, mask in self._pruned:
                if weight.grad is not None:
                    weight.grad.mul_(mask)
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def recipe(self) -> dict[str, Any]:
        """As `Classifier`, with how it is pruned."""
        recipe = super().recipe() | {"scope": self.scope, "skip": self.skip} | self.criterion.recipe()
        channels = self.channel_criterion.recipe()
        # checkpoints from before there were channels have no criterion
        return recipe if channels == ChannelL1().recipe() else recipe | {"channel_criterion": channels}


def _clear_state(optimizer: Optimizer, pruned: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
    for weight, mask in pruned:
        for value in optimizer.state.get(weight, {}).values():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                value.mul_(mask)
