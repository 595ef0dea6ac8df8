"""LightningCLI of the commands that make a trainer: fit, validate, test, predict and teacher-report."""

import sys
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger

from dasc import loggers
from dasc.callbacks import AtomicCheckpointIO
from dasc.cli.quiet import hold_information
from dasc.config import check_config, check_seed, root_of
from dasc.data import ImageData
from dasc.modules import Classifier
from dasc.parser import Parser
from dasc.trainer import RunTrainer
from dasc.trainer_rules import as_list, check_device, trainer_errors


class SaveConfig(SaveConfigCallback):
    """Saves the resolved config of a training run, without the checkpoint that it was continued from."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml into the run's folder."""
        if stage == "fit":
            self.config = self.config.clone()
            self.config["ckpt_path"] = None
            super().setup(trainer, pl_module, stage)


class TrainingCLI(LightningCLI):
    """Module, data and trainer of a parsed config, which a command then uses; Lightning seeds and makes them.

    Commands override the hooks `before_instantiate_classes`, `prepare`, `logger` and `callbacks`.

    Args:
        parser: Parser of the command, from `dasc.config`.
        config: Options that it parsed.

    Attributes:
        model: The module.
        datamodule: The data.
        trainer: The trainer.
        root: The folder that contains lightning_logs/.
    """

    model: Classifier
    datamodule: ImageData
    trainer: RunTrainer
    quiet = False
    """Whether no progress is shown."""

    def __init__(self, parser: Parser, config: Namespace) -> None:
        self.parser = parser
        self.config = config
        self.root = root_of(config)
        check_seed(config.seed_everything)  # Lightning seeds before its first hook
        with hold_information():
            super().__init__(
                model_class=Classifier,
                datamodule_class=ImageData,
                trainer_class=RunTrainer,
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                run=False,
            )

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Use the parser that was given, which is part of that of `dasc`."""

    def parse_arguments(self, *args: Any, **kwargs: Any) -> None:
        """Use the config that was given."""

    def before_instantiate_classes(self) -> None:
        """Check the config."""
        check_config(self.config)

    def instantiate_classes(self) -> None:
        """Make module, data and trainer; `hyper_parameters` of checkpoints are those of `config_dump`."""
        dumped = self.parser.dump(self.config, skip_link_targets=False, skip_none=False, format="yaml")
        self.config_dump = yaml.safe_load(dumped)
        # Lightning sets the linked num_classes in it, and fails for a network without settings
        self.config_dump["model"]["init_args"]["network"].setdefault("init_args", {})
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Prepare module and data, and make the trainer."""
        config = self.config_init
        self.model.trust = tuple(config.get("trust") or ())
        self.prepare()
        logger, callbacks = self.logger(), self.callbacks()
        if (self.quiet or not sys.stdout.isatty()) and not any(isinstance(c, ProgressBar) for c in callbacks):
            kwargs["enable_progress_bar"] = False  # Lightning's bar would fill a file with control characters
        with trainer_errors(config.trainer):
            trainer = super().instantiate_trainer(
                max_epochs=self.model.stages.total_epochs,
                logger=logger,
                callbacks=callbacks,
                plugins=[*as_list(config.trainer.plugins), AtomicCheckpointIO()],
                **kwargs,
            )
        check_device(config.trainer, trainer)
        return trainer

    def prepare(self) -> None:
        """Prepare module and data before the trainer is made."""

    def logger(self) -> Any:
        """Return the logger of the config, which must not delete files; without one, no logger is made."""
        given = self.config_init.trainer.logger
        if isinstance(given, Logger | list) and not self.config_init.trainer.fast_dev_run:
            loggers.check_nothing_deleted(as_list(given))
        return given or False

    def callbacks(self) -> list[Callback]:
        """Return the callbacks of the trainer, by default those of the config."""
        return as_list(self.config_init.trainer.callbacks)
