"""Texts of `dasc COMMAND --help`, for the commands on a training's config."""

from typing import Any

from dasc.help_format import Formatter
from dasc.stages import COLUMNS

OPTIONS = """\
Options are read from config files and the command line; the later wins.
  --config FILE          a config file; --print_config shows what was read
  --stages '[...]'       the table, with the columns
                         {columns}
  --epochs_scale X       every row's epochs times X
  --init_from.path FILE  start a new run from the network of another
  --ckpt_path FILE       {checkpoint}
  --model.KEY VALUE      network and training; --model.help PrunedClassifier
  --data.KEY VALUE       the images; --data.help ImageData
  --trainer.KEY VALUE    devices, precision and more of Lightning's Trainer
  --debug                the traceback of an error"""


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
