"""`dasc plan`: print what fit would do."""

from collections.abc import Sequence

import torch
from jsonargparse import Namespace
from lightning.pytorch import seed_everything

from dasc.callbacks.averaging import WeightEMA, weights_of
from dasc.callbacks.refused import class_of
from dasc.cli.command import Command
from dasc.cli.help import command_help
from dasc.cli.registry import COMMANDS
from dasc.cli.start import length_of_epoch, prepare_start
from dasc.config import add_unused_weights_only, check_training_config, training_parser
from dasc.memory import UNKNOWN, Device, device_of
from dasc.parser import Parser
from dasc.plan import print_plan
from dasc.trainer_rules import as_list

SUMMARY = COMMANDS["plan"].summary


def make_parser() -> Parser:
    """Return the parser of the options, which are those of fit."""
    parser = training_parser(**command_help("plan", SUMMARY, "continue its run; or last"))
    add_unused_weights_only(parser, "plan", SUMMARY)
    return parser


def run(parser: Parser, config: Namespace, words: Sequence[str]) -> None:
    """Print the plan of a run, and how many epochs the run that it continues has; make no trainer."""
    check_training_config(config)
    _leave_out_effects(config)
    if config.seed_everything is not False:
        seed_everything(None if config.seed_everything is True else config.seed_everything, workers=True, verbose=False)
    made = parser.instantiate_classes(config)
    model, data = made.model, made.data
    model.trust = tuple(made.get("trust") or ())
    start = prepare_start(made, model, data, load_weights=False)
    processes = _processes(config.trainer)
    data.check_batch_size(processes)
    epoch = length_of_epoch(config, data)
    print_plan(model, data, epoch, config.trainer.precision, processes, _device(config.trainer))
    if start.checkpoint is not None:
        held = weights_of(model.averaging)
        print(f"{start.checkpoint} has {start.epochs_done} epochs behind it; it holds {held}")


def _leave_out_effects(config: Namespace) -> None:
    """Remove the objects under `trainer` that could write files or use a device when they are made."""
    averaging = [one for one in as_list(config.trainer.callbacks) if issubclass(class_of(one), WeightEMA)]
    for name in ("callbacks", "logger", "plugins", "profiler", "strategy"):
        config.trainer[name] = None
    config.trainer.callbacks = averaging or None


def _processes(trainer: Namespace) -> int:
    """Return how many processes the config names; 1 where that is known only when a run starts."""
    devices = trainer.devices
    count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
    return max(count, 1) * int(trainer.num_nodes)


def _device(trainer: Namespace) -> Device:
    """Return the device that the config selects; its memory is not known for other devices than CPUs and NVIDIA's."""
    name, devices = trainer.accelerator, trainer.devices
    if name in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return device_of("cuda", int(devices[0]) if isinstance(devices, list) and devices else 0)
    here = _processes(trainer) // int(trainer.num_nodes)
    return device_of("cpu", processes=here) if name in ("auto", "cpu") else UNKNOWN


COMMAND = Command("plan", SUMMARY, make_parser, run)
