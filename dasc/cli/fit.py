"""`dasc fit`: train and prune through the table of stages."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from dasc import loggers, runs
from dasc.callbacks import (
    AugmentedImages,
    Board,
    RecalibrateBatchNorm,
    SelectionReport,
    StageCheckpoint,
    StageReport,
    StageTeacher,
    StopNotFinite,
    Timing,
)
from dasc.callbacks.averaging import weights_of
from dasc.callbacks.checkpoints import check_names
from dasc.callbacks.columns import column_callbacks
from dasc.callbacks.monitors import check_monitors
from dasc.callbacks.progress import stage_progress
from dasc.callbacks.report import show
from dasc.cli.command import Command
from dasc.cli.help import command_help
from dasc.cli.quiet import hide_information, hide_output
from dasc.cli.registry import COMMANDS
from dasc.cli.start import Start, length_of_epoch, prepare_start
from dasc.cli.training import TrainingCLI
from dasc.config import check_training_config, fit_parser
from dasc.errors import StoppedError
from dasc.machine import OtherProcesses, bfloat16_warning, busy_warning, cores
from dasc.memory import device_of, estimate
from dasc.modules import DistilledClassifier
from dasc.parser import Parser
from dasc.stopping import describe_early_stop, describe_stop, exit_status_of_signals, stop_reason
from dasc.trainer_rules import as_list

SUMMARY = COMMANDS["fit"].summary

QUIET = "--quiet"
"""The flag that leaves warnings and errors only."""


class Fit(TrainingCLI):
    """A training run.

    Args:
        parser: Parser of the command.
        config: Options that it parsed.
        words: All words after `dasc`; the message of a stopped run repeats them.
        quiet: Whether nothing is printed but warnings and errors.

    Attributes:
        start: Where the run starts.
    """

    start: Start

    def __init__(self, parser: Parser, config: Namespace, words: Sequence[str], quiet: bool = False) -> None:
        self.words = words
        self.quiet = quiet
        self._others = OtherProcesses()
        super().__init__(parser, config)

    def before_instantiate_classes(self) -> None:
        """Check the config."""
        check_training_config(self.config)

    def prepare(self) -> None:
        """Prepare the module, and find the checkpoint that the run continues from."""
        trainer = self.config_init.trainer
        check_monitors(as_list(trainer.callbacks), self.model)
        if not trainer.fast_dev_run:
            runs.check_writable(self.root)
        self.start = prepare_start(self.config_init, self.model, self.datamodule)

    def logger(self) -> Any:
        """Return the logger of the config; the default is TensorBoardLogger into the run folder."""
        trainer = self.config_init.trainer
        if isinstance(trainer.logger, Logger | list):
            if not trainer.fast_dev_run and self.start.folder is None:
                loggers.check_nothing_deleted(as_list(trainer.logger))
            return trainer.logger
        if trainer.logger is False:
            return False
        root = self.root if self.start.folder is None else self.start.folder.parent.parent
        return TensorBoardLogger(root, name=runs.LOGS, default_hp_metric=False)

    def callbacks(self) -> list[Callback]:
        """Return the callbacks of the stages and those of the config."""
        options = self.config_init.trainer
        given = as_list(options.callbacks)
        check_names(given)
        stages = self.model.stages
        report, timing = StageReport(stages), Timing(stages)
        ours: list[Callback] = [StopNotFinite(stages), StageTeacher(stages), *column_callbacks(stages, self.model)]
        ours += [RecalibrateBatchNorm(stages), timing, report]
        ours += [SelectionReport()] if isinstance(self.model, DistilledClassifier) else []
        if options.logger is not False:
            ours += [AugmentedImages(stages), Board(stages)]
        if options.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in given):
            ours += [] if self.quiet else [stage_progress(stages, timing)]
        if options.enable_checkpointing is not False:
            ours.append(StageCheckpoint(stages, report))
        return [*ours, *given]

    def after_instantiate_classes(self) -> None:
        """Check and load the data in the first process of each machine; the others wait until it has downloaded them.

        Raises:
            UserError: The data do not fit the batch size, the number of processes, the limits of the trainer or the
                memory of the device.
        """
        if self.trainer.local_rank == 0:
            self.datamodule.check_batch_size(self.trainer.world_size)
            length_of_epoch(self.config, self.datamodule)
            self._check_memory()
            self.datamodule.load()
            self._check_cpu()

    def _check_memory(self) -> None:
        """Warn if the training may need more memory than its device has; stop if no batch size helps."""
        trainer, device = self.trainer, self.trainer.strategy.root_device
        memory = estimate(self.model, self.datamodule, trainer.precision, trainer.world_size)
        here = device_of(device.type, device.index or 0, trainer.num_devices)
        memory.check(here)
        if trainer.is_global_zero and (warning := memory.warning(here)):
            print(f"dasc fit: warning: {warning}", file=sys.stderr)

    def _check_cpu(self) -> None:
        """Warn if a training on the CPU is slow for its precision, or for other processes on its cores."""
        trainer = self.trainer
        if trainer.is_global_zero and trainer.strategy.root_device.type == "cpu":
            threads = torch.get_num_threads()
            for warning in (
                busy_warning(self._others.busy_cores(), cores(), threads, trainer.num_devices),
                bfloat16_warning(trainer.precision, torch.backends.cpu.get_cpu_capability()),
            ):
                if warning is not None:
                    print(f"dasc fit: warning: {warning}", file=sys.stderr)

    def train(self) -> None:
        """Train, or show the table of a run that has no epochs left.

        Raises:
            StoppedError: A signal stopped the training.
        """
        stages, start, trainer = self.model.stages, self.start, self.trainer
        if start.checkpoint is not None and start.epochs_done >= stages.total_epochs:
            with hide_output(self.quiet):
                print(f"{start.checkpoint} has all {start.epochs_done} epochs of its table behind it")
                show(list(start.rows), start.checkpoint.parent.parent)
                print(f"It holds {weights_of(self.model.averaging)}")
            return
        resumed = None if start.checkpoint is None or start.folder is None else runs.progress(start.checkpoint)
        trainer.agree_on_sigterm()
        try:
            with (
                exit_status_of_signals(),
                trainer.in_run_folder(self.root, start.folder, resumed),
                hide_output(self.quiet),
            ):
                trainer.fit(
                    self.model,
                    datamodule=self.datamodule,
                    ckpt_path=start.checkpoint,
                    weights_only=self.config.weights_only,
                )
        except StoppedError as stop:
            if stop.signal == "Ctrl-C":
                trainer.kill_children()
            raise StoppedError(stop.signal, self._describe_stop(stop.signal)) from None
        if self.model.epochs_done < stages.total_epochs and not self.config.trainer.fast_dev_run:
            stream = sys.stderr if self.quiet else sys.stdout
            rank_zero_only(print)(self._describe_stop(stop_reason(trainer)), file=stream)

    def _describe_stop(self, reason: str) -> str:
        saved = self.config.trainer.enable_checkpointing is not False
        done = max(self.model.epochs_done, self.start.epochs_done)
        folder = self.trainer.run_folder
        has_last = folder is not None and any((folder / runs.CHECKPOINTS).glob("[!.]*.ckpt"))
        return describe_stop(reason, self.model.stages, done, self.words, saved, has_last)


def make_parser() -> Parser:
    """Return the parser of the options."""
    texts = command_help("fit", SUMMARY, "continue its run; or last")
    texts["description"] += f"\n  {QUIET}                warnings and errors only: no progress, no table"
    return fit_parser(SUMMARY, **texts)


def run(parser: Parser, config: Namespace, words: Sequence[str]) -> Fit:
    """Train the run of a config.

    Raises:
        StoppedError: A signal stopped the run.
    """
    quiet = QUIET in words
    with hide_information(quiet):
        try:
            with exit_status_of_signals():
                fit = Fit(parser, config, words, quiet)
        except StoppedError as stop:
            raise StoppedError(stop.signal, describe_early_stop(stop.signal)) from None
        fit.train()
    return fit


COMMAND = Command("fit", SUMMARY, make_parser, run, (QUIET,))
