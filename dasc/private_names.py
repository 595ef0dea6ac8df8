"""Private names of Lightning and torch that dasc uses, with the reason for each.

No private name of jsonargparse is used. `pyproject.toml` keeps Lightning below its next minor release;
tests/test_private_names.py checks every name and finds those that are used without being listed here.
"""

from typing import NamedTuple


class PrivateName(NamedTuple):
    """A private name of another package."""

    owner: str
    """Import path of the class or module that has the name."""

    name: str
    """The name."""

    reason: str
    """What dasc uses it for, and why no public name does."""

    parameters: tuple[str, ...] | None = None
    """For functions: the names of the parameters, without `self`."""


PRIVATE_NAMES = (
    PrivateName(
        "lightning.pytorch.Trainer",
        "_signal_connector",
        "RunTrainer.agree_on_sigterm replaces the handler of SIGTERM; Lightning offers no other access to it",
    ),
    PrivateName(
        "lightning.pytorch.trainer.connectors.signal_connector._SignalConnector",
        "_sigterm_notifier_fn",
        "RunTrainer.agree_on_sigterm replaces it: it broadcasts at once, within other communication, which crashes",
        ("signum", "_"),
    ),
    PrivateName(
        "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop",
        "_broadcast_sigterm_tensor",
        "RunTrainer.agree_on_sigterm replaces it: it is called before each step, where all processes can agree to stop",
        (),
    ),
    PrivateName(
        "lightning.pytorch.strategies.launchers.subprocess_script._SubprocessScriptLauncher",
        "_call_children_scripts",
        "RunTrainer wraps it so that the processes it starts ignore Ctrl-C, which the first process handles for all",
        (),
    ),
    PrivateName(
        "lightning.pytorch.loggers.CSVLogger",
        "_version",
        "dasc.loggers names the logger's folder after the run; `version` cannot be set, and reading it picks a number",
    ),
    PrivateName(
        "lightning.pytorch.loggers.TensorBoardLogger",
        "_version",
        "as for CSVLogger",
    ),
    PrivateName(
        "lightning.pytorch.loggers.TensorBoardLogger",
        "_kwargs",
        "dasc.loggers sets the SummaryWriter's purge_step after the logger was made by the config",
    ),
    PrivateName(
        "lightning.pytorch.LightningModule",
        "_trainer",
        "Classifier describes itself with and without a trainer; the property `trainer` raises without one",
    ),
    PrivateName(
        "torch.nn.Module",
        "_modules",
        "dasc.pruning.masks removes mask buffers' empty modules; there is no public method that removes a child",
    ),
    PrivateName(
        "torch.nn.modules.batchnorm",
        "_BatchNorm",
        "RecalibrateBatchNorm finds all BatchNorm layers; it is their only common base class",
    ),
    PrivateName(
        "torch.optim.lr_scheduler.LRScheduler",
        "_last_lr",
        "StageLR sets it as torch's schedulers do, for `get_last_lr`",
    ),
    PrivateName(
        "torch.nn.parallel.DistributedDataParallel",
        "_ddp_params_and_buffers_to_ignore",
        "PrunedClassifier keeps masks out of DDP's broadcast of buffers in each step; there is no public option",
    ),
    PrivateName(
        "torch",
        "_foreach_mul_",
        "PrunedClassifier masks all weights by one call; the optimizers of torch use it",
    ),
    PrivateName(
        "torch",
        "_foreach_copy_",
        "WeightEMA copies all weights by one call; the optimizers of torch use it",
    ),
    PrivateName(
        "torch",
        "_foreach_lerp_",
        "WeightEMA averages all weights by one call; the optimizers of torch use it",
    ),
    PrivateName(
        "torch.utils",
        "_python_dispatch",
        "dasc.memory measures activations with it, as torch's public FlopCounterMode does",
    ),
    PrivateName(
        "torch.utils",
        "_pytree",
        "dasc.export.allocation finds the tensors among the arguments of an operation, as torch's own modes do",
    ),
    PrivateName(
        "torch._ops.OpOverload",
        "_schema",
        "dasc.export.allocation asks it whether an operation writes into its arguments, and whether it has a device",
    ),
)
