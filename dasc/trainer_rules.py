"""Options of Lightning's Trainer that would break what the table of stages promises."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator

from dasc.errors import UserError


class Rule(NamedTuple):
    """A rule for an option under `trainer`."""

    allows: Callable[[Any], bool]
    rule: str
    """The rest of `trainer.NAME must be ...`."""
    remedy: str


def _class_name(value: Any) -> str:
    """Return the class of an option that is written with `class_path`, or the option as text."""
    return str(value.class_path).rpartition(".")[2] if hasattr(value, "class_path") else str(value)


_STRATEGIES = (
    *("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false"),
    *("DDPStrategy", "SingleDeviceStrategy"),
)
_PRECISIONS = (
    *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"),
    *("32", "16", "64", "bf16", 16, 32, 64, None),
)

RULES: Mapping[str, Rule] = {
    "max_steps": Rule(
        lambda steps: steps in (None, -1),
        "-1",
        "the table of stages is the length of a run; change epochs_scale or trainer.limit_train_batches",
    ),
    "limit_train_batches": Rule(lambda limit: limit is None or limit > 0, "> 0", "nothing would be trained"),
    "strategy": Rule(
        lambda strategy: strategy is None or _class_name(strategy) in _STRATEGIES,
        "auto or ddp",
        "pruning and dropped blocks need whole weights in every process",
    ),
    "precision": Rule(
        lambda precision: precision in _PRECISIONS,
        "one of 32-true, bf16-mixed, 16-mixed, bf16-true, 16-true, 64-true",
        "others replace layers of the network",
    ),
    "barebones": Rule(lambda given: not given, "false", "it switches off the callbacks that prune and save"),
    "model_registry": Rule(lambda name: name is None, "null", "checkpoints are files of the run folder"),
    "plugins": Rule(
        lambda plugins: not any("CheckpointIO" in _class_name(p) for p in as_list(plugins)),
        "without a CheckpointIO",
        "dasc writes checkpoints atomically with its own",
    ),
}
"""By the name of the option. docs/trainer.md lists these with all that work."""


def check_trainer(trainer: Any) -> None:
    """Check the options of a training, as the part `trainer` of a config has them.

    Raises:
        UserError: An option is outside its rule.
    """
    for name, rule in RULES.items():
        value = trainer.get(name)
        if not rule.allows(value):
            raise UserError(f"trainer.{name} must be {rule.rule}, got {_shown(value)}: {rule.remedy}")


def check_device(options: Any, trainer: Trainer) -> None:
    """Check the options that depend on the device of the trainer that was made of them.

    Raises:
        UserError: The device does not support an option.
    """
    if options.get("sync_batchnorm") and isinstance(trainer.accelerator, CPUAccelerator):
        raise UserError("trainer.sync_batchnorm must be false on the CPU, got true: torch has it for GPUs only")


def as_list(given: Any) -> list[Any]:
    """Return an option that is one thing or a list of them as a list; None is an empty one."""
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]


def _shown(value: Any) -> str:
    return ", ".join(map(_class_name, value)) if isinstance(value, list) else _class_name(value)
