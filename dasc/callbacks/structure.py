"""Changes of a network's structure during a training."""

from collections.abc import Callable

import torch
from lightning.pytorch import Trainer
from torch import nn

from dasc.modules import Classifier


def change_structure(trainer: Trainer, module: Classifier, change: Callable[[nn.Module], None]) -> None:
    """Change the structure of the network that a trainer trains.

    The gradients are dropped, and the strategy is set up again: device, DDP wrapper, optimizers and schedulers.
    Parameters that remain the same objects keep their optimizer state.

    Args:
        trainer: The trainer, between two optimizer steps.
        module: Its module.
        change: Changes the network in place.
    """
    module.zero_grad(set_to_none=True)
    change(module.network)
    module.on_structure_change()
    if module.compile_network:
        torch.compiler.reset()  # graphs of the network before; and shapes are static again, as after a resume
    states = [optimizer.state for optimizer in trainer.optimizers]
    positions = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    trainer.strategy.model = module  # lets go of the wrapper
    trainer.strategy.setup(trainer)
    for optimizer, state in zip(trainer.optimizers, states, strict=True):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        optimizer.state.update({parameter: state[parameter] for parameter in parameters if parameter in state})
    for config, position in zip(trainer.lr_scheduler_configs, positions, strict=True):
        config.scheduler.load_state_dict(position)
