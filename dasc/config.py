"""Config reader: the options of a training, resolved by jsonargparse from config files and the command line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import yaml
from jsonargparse import Namespace
from jsonargparse.typing import register_type
from lightning import __version__ as lightning_version

from dasc.callbacks.refused import check_callbacks, class_of
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, InitFrom
from dasc.parser import Parser, check_learning_rate
from dasc.scoring import ALLOW
from dasc.stages import Stages, in_order
from dasc.trainer import RunTrainer
from dasc.trainer_rules import as_list, check_packages, check_trainer

TRAINER_DEFAULTS = {
    "enable_model_summary": False,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}
"""Defaults under `trainer` that differ from Lightning's."""

_PATH_OF_CONFIG = "Path to a configuration file in json or yaml format."

_METHOD_ARGUMENTS_NOT_OPTIONS = {
    *("model", "datamodule", "ckpt_path"),
    *("dataloaders", "train_dataloaders", "val_dataloaders"),
}


def _parse_stages(given: Any) -> Stages:
    if hasattr(given, "key") and hasattr(given, "val"):  # jsonargparse's pair for --stages.KEY VALUE
        raise UserError(
            f"--stages.{given.key} cannot be set: rows are not changed one by one, write the whole table in a later "
            "--config or as --stages='[{epochs: 10}, {epochs: 5, sparsity: 0.2}]'"
        )
    return Stages.parse(given)


register_type(Stages, Stages.dump, _parse_stages, (), type_check=lambda value, kind: isinstance(value, Stages))


def new_parser(**kwargs: Any) -> Parser:
    """Return a parser with the option `--config` only.

    Args:
        kwargs: Arguments of argparse's parser, such as `prog` and `description`.
    """
    parser = Parser(exit_on_error=False, dump_header=[f"lightning.pytorch=={lightning_version}"], **kwargs)
    parser.is_of_command = True
    parser.add_argument("-c", "--config", action="config", help=_PATH_OF_CONFIG)
    return parser


def training_parser(**kwargs: Any) -> Parser:
    """Return a parser of the keys that a training and every command on one have in common.

    Args:
        kwargs: Arguments of argparse's parser, such as `usage` and `description`.
    """
    parser = new_parser(**kwargs)
    parser.add_argument(
        "--seed_everything",
        type=Union[bool, int],  # noqa: UP007 - as Lightning shows it in --help
        default=0,
        help="Set to an int to run seed_everything with this value before classes instantiation."
        "Set to True to use a random seed.",
    )
    parser.add_lightning_class_args(RunTrainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    parser.add_lightning_class_args(Classifier, "model", subclass_mode=True)
    parser.add_lightning_class_args(ImageData, "data", subclass_mode=True)
    _add_table(parser)
    _add_checkpoints(parser)
    parser.link_arguments(("stages", "epochs_scale", "auxiliary_scale"), "model.init_args.stages", compute_fn=_scaled)
    parser.link_arguments("data.num_classes", "model.init_args.network.init_args.num_classes", apply_on="instantiate")
    return parser


def fit_parser(title: str = "Options of fit", **kwargs: Any) -> Parser:
    """Return the parser of `dasc fit`.

    Args:
        title: Title, in `--help`, of the options that only this command has.
        kwargs: Arguments of argparse's parser, such as `usage` and `description`.
    """
    parser = training_parser(**kwargs)
    add_method_options(parser, "fit", title)
    return parser


def add_method_options(parser: Parser, name: str, title: str) -> None:
    """Add the arguments of a method of Lightning's Trainer, such as `verbose` of `test`, as options.

    Args:
        parser: Parser of a command.
        name: Name of the method.
        title: Title of the options in `--help`.
    """
    group = parser.add_argument_group(title.removesuffix("."))
    group.add_method_arguments(RunTrainer, name, as_group=False, skip=_METHOD_ARGUMENTS_NOT_OPTIONS)


def add_unused_weights_only(parser: Parser, name: str, title: str) -> None:
    """Add fit's option `weights_only` to a command that does not use it, so that it accepts every config of fit.

    Args:
        parser: Parser of the command.
        name: Name of the command.
        title: Title of the option in `--help`.
    """
    group = parser.add_argument_group(title.removesuffix("."))
    text = f"Not used; here so that every config of fit is one of {name}."
    group.add_argument("--weights_only", type=bool | None, default=None, help=text)


def add_allow_option(parser: Parser) -> None:
    """Add the option that scores images which a checkpoint was trained on."""
    parser.add_argument(
        ALLOW,
        action="store_true",
        help="Score images that the checkpoint was trained on too, which is an error without this option.",
    )


def _add_table(parser: Parser) -> None:
    parser.add_argument(
        "--stages",
        type=Stages,
        required=True,
        help="The table of stages, rows such as {epochs: 6, sparsity: 0.2, magnitude: 12}. Columns: "
        f"{'; '.join(column.help for column in in_order())}.",
    )
    parser.add_argument(
        "--epochs_scale", type=float, default=1.0, help="Multiplies every row's epochs; a row keeps one at least."
    )
    parser.add_argument(
        "--auxiliary_scale",
        type=float,
        default=1.0,
        help="Multiplies every row's auxiliary blocks; a row that has some keeps one at least.",
    )


def _add_checkpoints(parser: Parser) -> None:
    parser.add_argument(
        "--init_from",
        type=InitFrom | None,
        default=None,
        help="Start a new run from a network: path of a checkpoint, load (weights, masks, both), head (keep, new)",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        default=None,
        help="The checkpoint whose run fit continues, or that is scored: a path, a run folder, or last for the "
        "newest run's. What is scored may also be best: the best epoch of the newest run's last stage.",
    )
    parser.add_argument(
        "--trust",
        type=list[str] | None,
        default=None,
        help="A module whose network classes are imported where a checkpoint names them; may be repeated. The "
        "modules dasc, torchvision and timm, and that of the network in the config, need no --trust.",
    )


def _scaled(stages: Stages | None, epochs_scale: float, auxiliary_scale: float) -> Stages | None:
    return None if stages is None else stages.scaled(epochs_scale, auxiliary_scale)


def check_config(config: Namespace) -> None:
    """Check that a config sets nothing that the table of stages decides, and that its optimizer has a learning rate.

    Raises:
        UserError: `trainer.max_epochs` or `data.magnitude` contradicts the table, or a learning rate is missing.
    """
    check_seed(config.seed_everything)
    total = config.stages.scaled(config.epochs_scale, config.auxiliary_scale).total_epochs
    if config.trainer.max_epochs not in (None, total):
        raise UserError(
            f"trainer.max_epochs is {config.trainer.max_epochs}, but the stages have {total} epochs: leave it out, "
            "and change the rows or epochs_scale"
        )
    if config.data.init_args.get("magnitude", "none") != "none":
        raise UserError("data.magnitude is set by the table: write it in the column magnitude of stages")
    check_learning_rate(config.model)


def check_seed(seed: bool | int) -> None:
    """Check that numpy and torch accept a seed; false sets none and true draws one.

    Raises:
        UserError: They do not.
    """
    if not 0 <= int(seed) < 2**32:
        raise UserError(f"seed_everything must be >= 0 and < 2^32, got {seed}: take another seed")


def check_training_config(config: Namespace) -> None:
    """Check a config as `check_config` does, and that a training supports its trainer options and callbacks.

    Raises:
        UserError: See `check_config`; or an option under `trainer` is one that a training refuses.
    """
    check_config(config)
    check_trainer(config.trainer)
    check_packages(config.trainer)
    check_callbacks(map(class_of, as_list(config.trainer.callbacks)))


def root_of(config: Namespace) -> Path:
    """Return the folder that contains lightning_logs/."""
    return Path(os.path.expandvars(config.trainer.default_root_dir or ".")).expanduser()


class ConfigReader:
    """Resolves options of `dasc fit` into plain data, and makes modules and data of them."""

    def __init__(self) -> None:
        self._parser = fit_parser(prog="dasc fit")

    def read(self, args: Sequence[str], whole: bool = False) -> dict[str, Any]:
        """Return the resolved config of `dasc fit` with these arguments, as plain data.

        Args:
            args: Arguments after `dasc fit`.
            whole: Whether keys whose value is None are included.

        Raises:
            UserError: The arguments cannot be parsed, or see `check_training_config`.
        """
        config = self._parser.parse_args(list(args))
        check_training_config(config)
        plain: dict[str, Any] = yaml.safe_load(self._parser.dump(config, skip_none=not whole, format="yaml"))
        return plain

    def make(self, config: Mapping[str, Any]) -> tuple[Classifier, ImageData]:
        """Return the module and the data of a config that was read, as before any training."""
        kept = {key: value for key, value in config.items() if key != "trainer"}
        made = self._parser.instantiate_classes(self._parser.parse_object(kept))
        return made.model, made.data
