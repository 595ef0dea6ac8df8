"""Texts of `dasc --help` and of the commands on a training's config."""

import argparse
from typing import Any

from jsonargparse import DefaultHelpFormatter

from dasc import __version__
from dasc.stages import COLUMNS

ABOUT = """\
Data augmentation schedules for compression: trains image classifiers through a
table of stages, each with its own sparsity and its own strength of RandAugment."""

STUDY = """\
dasc study plan|run|status|report|magnitudes FILE: many runs from one file, their
table and their figures; see dasc study --help."""

OPTIONS = """\
Options are read from config files and the command line; the later wins.
  --config FILE          a config file; --print_config shows what was read
  --stages '[...]'       the table: {columns}
  --epochs_scale X       every row's epochs times X
  --init_from.path FILE  start a new run from the network of another
  --ckpt_path FILE       {checkpoint}
  --model.KEY VALUE      network and training; --model.help PrunedClassifier
  --data.KEY VALUE       the images; --data.help ImageData
  --trainer.KEY VALUE    devices, precision and more of Lightning's Trainer
  --debug                the traceback of an error"""


class Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Formatter that keeps the lines of a description."""


def main_help() -> dict[str, Any]:
    """Return the parser arguments with the texts of `dasc --help` and `dasc --version`."""
    about = f"{ABOUT}\n\n{STUDY}"
    return {"formatter_class": Formatter, "prog": "dasc", "version": __version__, "description": about}


def command_help(name: str, summary: str, checkpoint: str, example: str = "") -> dict[str, Any]:
    """Return the parser arguments with the texts of `dasc NAME --help`, for a command on a training's config.

    Args:
        name: Name of the command.
        summary: One sentence on the command.
        checkpoint: Meaning of `--ckpt_path`.
        example: Options that the example needs besides `--config`.
    """
    words = f"dasc {name} --config configs/prune_decay.yaml {example}".rstrip()
    description = f"{summary}\n\n  {words}\n\n{OPTIONS.format(checkpoint=checkpoint, columns=', '.join(COLUMNS))}"
    return {"formatter_class": Formatter, "usage": f"dasc {name} [options]", "description": description}
