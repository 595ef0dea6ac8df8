"""Exponential moving average of the weights."""

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from dasc.errors import UserError
from dasc.modules import Classifier


class WeightEMA(WeightAveraging):
    """Exponential moving average of the weights, used for validation and stored in checkpoints.

    After each optimizer step, `average = decay * average + (1 - decay) * weights`, for parameters and the running
    statistics of BatchNorm. Masks and integer buffers are copied, so pruned weights are exactly zero in the average. At
    the first step of a stage with higher sparsity or fewer auxiliary blocks, the average restarts from the current
    weights.

    As with Lightning's `WeightAveraging`, the `state_dict` of a checkpoint holds the average and `current_model_state`
    the trained weights, and the module has the averaged weights when training ends. Tensors are averaged by name:
    `AveragedModel` copies the whole module, cannot follow a dropped block, and reads its counter from the device at
    every step.

    Args:
        decay: Weight of the previous average at each step, > 0 and < 1. The average covers about the last
            1 / (1 - decay) steps, which should be fewer than the steps of a stage.

    Raises:
        UserError: `decay` is outside its range.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise UserError(f"decay must be > 0 and < 1, got {decay}")
        super().__init__()
        self.decay = decay
        self._clear()

    def _clear(self) -> None:
        self._average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # the trained weights, while the module has the average
        self._weights: list[Tensor] = []  # the module's own tensors, in the order of the average
        self._followed_epoch = -1
        self._restart_epoch = -1
        self._latest_update_step = 0

    def describe(self) -> dict[str, Any]:
        """Return the settings that must be equal for a run to be resumed."""
        return {"class": type(self).__name__, "decay": self.decay}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start without an average, and add the settings to the module's recipe."""
        if stage == "fit":
            assert isinstance(pl_module, Classifier)
            self._clear()
            pl_module.averaging = self.describe()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Follow the module at the first batch of an epoch, and restart the average where the network has changed."""
        # not on_train_epoch_start: all callbacks have changed the module by now, whatever their order
        epoch = trainer.current_epoch
        if self._followed_epoch == epoch:
            return
        assert isinstance(pl_module, Classifier)
        weights = _floating(pl_module)
        changed = pl_module.stages.changes_network_at(epoch) and self._restart_epoch != epoch
        if changed or not self._average:
            self._average = {name: weight.clone() for name, weight in weights.items()}
            self._restart_epoch = epoch
        self._weights = [weights[name] for name in self._average]
        self._followed_epoch = epoch

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after an optimizer step."""
        if trainer.global_step > self._latest_update_step:
            torch._foreach_lerp_(list(self._average.values()), self._weights, 1 - self.decay)
            self._latest_update_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the averaged weights in the module."""
        self._use_average(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the averaged weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._use_average(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue with the trained weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._use_trained(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the trained weights in the module, also where validation was interrupted."""
        self._use_trained(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print which weights the checkpoints hold."""
        if trainer.is_global_zero and trainer.checkpoint_callbacks and not getattr(trainer, "fast_dev_run", False):
            print(f"Checkpoints (last, best, stage-K) hold {weights_of(self.describe())}")

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: with a state here, Lightning warns when a checkpoint is scored without this callback."""
        return {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the average in `state_dict`, the trained weights in `current_model_state`, and when it was updated."""
        if self._average:
            state = dict(checkpoint["state_dict"])
            checkpoint["current_model_state"] = state | self._trained
            checkpoint["state_dict"] = state | self._average
            steps = {"latest_update_step": self._latest_update_step, "restart_epoch": self._restart_epoch}
            checkpoint["averaging_state"] = steps

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the average and the trained weights; to score a checkpoint, its averaged weights are kept."""
        if trainer.state.fn != TrainerFn.FITTING or "current_model_state" not in checkpoint:
            return
        averaged = checkpoint["state_dict"].items()
        device = trainer.strategy.root_device
        self._average = {name: value.to(device) for name, value in averaged if value.is_floating_point()}
        self._latest_update_step = checkpoint["averaging_state"]["latest_update_step"]
        self._restart_epoch = checkpoint["averaging_state"]["restart_epoch"]
        pl_module.load_state_dict(checkpoint["current_model_state"], strict=pl_module.strict_loading)

    def averaged_state(self, module: LightningModule) -> dict[str, Tensor]:
        """Return the state_dict of a module as checkpoints hold it, with the averaged weights."""
        return module.state_dict() | self._average

    def _use_average(self, module: LightningModule) -> None:
        if self._average and not self._trained:
            weights = _floating(module)
            self._trained = {name: weight.clone() for name, weight in weights.items()}
            _copy(self._average, weights)

    def _use_trained(self, module: LightningModule) -> None:
        if self._trained:
            _copy(self._trained, _floating(module))
            self._trained = {}


def averaging_of(callbacks: Iterable[Callback]) -> dict[str, Any] | None:
    """Return the settings of the weight average among callbacks; None without one.

    Raises:
        UserError: There are several.
    """
    found = [callback for callback in callbacks if isinstance(callback, WeightEMA)]
    if len(found) > 1:
        raise UserError(f"trainer.callbacks must have at most one WeightEMA, got {len(found)}")
    return found[0].describe() if found else None


def weights_of(averaging: dict[str, Any] | None) -> str:
    """Return in words which weights the checkpoints of a run hold."""
    if averaging is None:
        return "trained weights"
    return f"averaged weights ({averaging['class']}, decay {averaging['decay']:g})"


def _floating(module: LightningModule) -> dict[str, Tensor]:
    """Return the floating-point tensors of a module's state_dict, not copied."""
    state: dict[str, Tensor] = module.state_dict()
    return {name: value for name, value in state.items() if value.is_floating_point()}


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    torch._foreach_copy_([target[name] for name in source], list(source.values()))
