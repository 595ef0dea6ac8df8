"""Options of Lightning's Trainer that would break what the table of stages promises."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any, NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator

from dasc.errors import UserError, one_line
from dasc.system_errors import package_text


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

_ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps", "tpu")

PACKAGES = {
    "WandbLogger": "wandb",
    "MLFlowLogger": "mlflow",
    "CometLogger": "comet_ml",
    "LitLogger": "litlogger",
    "NeptuneLogger": "neptune",
    "DeviceStatsMonitor": "psutil",
}
"""Optional packages by the logger or callback of Lightning that imports them; all but DeviceStatsMonitor always."""


def _is_devices(value: Any) -> bool:
    """Return whether a value has the form of `trainer.devices`."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, int) and one >= 0 for one in value)
    text = "auto" if value is None else str(value).strip()
    return re.fullmatch(r"auto|-1|0*[1-9]\d*|\d+(, *\d+)+ *,?|\d+ *,", text) is not None


RULES: Mapping[str, Rule] = {
    "max_steps": Rule(
        lambda steps: steps in (None, -1),
        "-1",
        "the table of stages is the length of a run; change epochs_scale or trainer.limit_train_batches",
    ),
    "limit_train_batches": Rule(lambda limit: limit is None or limit > 0, "> 0", "nothing would be trained"),
    "devices": Rule(_is_devices, "a number >= 1, indices such as [0, 2], -1 or auto", "leave it out for all GPUs"),
    "num_nodes": Rule(lambda count: count >= 1, ">= 1", "leave it out for one machine"),
    "accelerator": Rule(
        lambda name: hasattr(name, "class_path") or name is None or name in _ACCELERATORS,
        "one of auto, cpu, gpu, cuda, mps, tpu",
        "leave it out to use the GPU where there is one",
    ),
    "profiler": Rule(
        lambda name: not isinstance(name, str) or name in ("simple", "advanced", "pytorch", "xla"),
        "one of simple, advanced, pytorch, xla",
        "or the class_path of a profiler",
    ),
    "accumulate_grad_batches": Rule(lambda count: count >= 1, ">= 1", "1 is an optimizer step for every batch"),
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


def check_packages(trainer: Any) -> None:
    """Check that the packages of the loggers and callbacks of a config are installed.

    Raises:
        UserError: One is not.
    """
    for option in ("logger", "callbacks"):
        for given in as_list(trainer.get(option)):
            name = _class_name(given)
            package = PACKAGES.get(name)
            cpu = getattr(given.get("init_args"), "cpu_stats", None) if hasattr(given, "get") else None
            if package is None or (name == "DeviceStatsMonitor" and cpu is False) or find_spec(package) is not None:
                continue
            raise UserError(f"trainer.{option} {name} {package_text(package.replace('_', '-'))}")


@contextmanager
def trainer_errors(trainer: Any) -> Iterator[None]:
    """Give errors of the constructor of Lightning's Trainer the name of the option.

    Args:
        trainer: The part `trainer` of the config.

    Raises:
        UserError: The Trainer cannot be made of these options on this machine.
    """
    try:
        yield
    except (ValueError, TypeError, ImportError, RuntimeError, MisconfigurationException) as error:
        text = one_line(error).rstrip(".!")
        frames = list(walk_tb(error.__traceback__))
        if not frames or not frames[-1][0].f_globals.get("__name__", "").startswith("lightning."):
            raise
        name = _option_in(text, trainer)
        option, given = (f".{name}", f", got {_shown(trainer.get(name))}") if name else ("", "")
        raise UserError(f"trainer{option} must suit this machine and Lightning{given}: {text}") from error


def _option_in(text: str, trainer: Any) -> str:
    """Return the option that a message of Lightning is on; '' where it names none."""
    names: list[str] = [name for name in vars(trainer) if re.search(rf"\b{name}\b", text, re.IGNORECASE)]
    if names:
        return min(names, key=lambda name: text.lower().index(name))
    return "accelerator" if re.search(r"accelerator|backend|torch_xla", text, re.IGNORECASE) else ""


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
