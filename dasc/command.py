"""The commands that train and score: LightningCLI with the table of stages."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import Namespace
from jsonargparse.typing import register_type
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from dasc import checkpoint, loggers, runs, scoring
from dasc.callbacks import (
    AtomicCheckpointIO,
    AugmentedImages,
    Board,
    PredictionWriter,
    RecalibrateBatchNorm,
    SelectionReport,
    StageCheckpoint,
    StageProgressBar,
    StageReport,
    StopNotFinite,
    Timing,
    WeightEMA,
)
from dasc.callbacks.averaging import averaging_of, weights_of
from dasc.callbacks.checkpoints import check_names
from dasc.callbacks.columns import column_callbacks
from dasc.callbacks.refused import check_callbacks, class_of
from dasc.callbacks.report import show
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.help import Commands, parser_kwargs
from dasc.modules import Classifier, DistilledClassifier, InitFrom, start_from, trainer_settings
from dasc.optimizer import Parser, check_learning_rate
from dasc.plan import Epoch, epoch_of, print_plan
from dasc.stages import Stages, in_order
from dasc.stopping import StoppedError, describe_stop, exit_status_of_signals, stop_reason
from dasc.teacher_report import report
from dasc.trainer_rules import as_list, check_device, check_trainer


def _parse_stages(given: Any) -> Stages:
    if hasattr(given, "key") and hasattr(given, "val"):  # jsonargparse's pair for --stages.KEY VALUE
        raise UserError(
            f"--stages.{given.key} cannot be set: rows are not changed one by one, write the whole table in a later "
            "--config or as --stages='[{epochs: 10}, {epochs: 5, sparsity: 0.2}]'"
        )
    return Stages.parse(given)


register_type(Stages, Stages.dump, _parse_stages, (), type_check=lambda value, kind: isinstance(value, Stages))


class SaveConfig(SaveConfigCallback):
    """Saves the resolved config of a training run, without the checkpoint that it was continued from."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml into the run's folder."""
        if stage == "fit":
            self.config = self.config.clone()
            self.config["ckpt_path"] = None
            super().setup(trainer, pl_module, stage)


class Command(LightningCLI):
    """Links the table to the model, adds the callbacks of the stages, and finds the run to continue."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys that stand beside model, data and trainer."""
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
            help="The checkpoint whose run fit continues, or that is scored: a path, or last for the newest run's. "
            "What is scored may also be best: the best epoch of the newest run's last stage.",
        )
        parser.add_argument(
            "--trust",
            type=list[str] | None,
            default=None,
            help="A module whose network classes are imported where a checkpoint names them; may be repeated. The "
            "modules dasc, torchvision and timm, and that of the network in the config, need no --trust.",
        )
        parser.link_arguments(
            ("stages", "epochs_scale", "auxiliary_scale"), "model.init_args.stages", compute_fn=_scaled
        )
        parser.link_arguments(
            "data.num_classes", "model.init_args.network.init_args.num_classes", apply_on="instantiate"
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the commands, with those arguments of their methods that are no options of theirs."""
        return {name: {*skip, "ckpt_path"} for name, skip in LightningCLI.subcommands().items()} | {
            "plan": set(),
            "teacher-report": set(),
        }

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "teacher-report":
            parser.add_argument(
                "--teachers",
                nargs="+",
                type=str,
                required=True,
                help="The teachers: checkpoints, or folders with runs in them.",
            )
        if subcommand in ("validate", "test", "teacher-report"):
            parser.add_argument(
                scoring.ALLOW,
                action="store_true",
                help="Score images that the checkpoint was trained on too, which is an error without this option.",
            )
        return parser

    def _parse_ckpt_path(self) -> None:
        """Leave the config as it is: Lightning would put the checkpoint's hyper-parameters over it."""

    def _dump_config(self) -> None:
        """Give a network without settings a place for num_classes: Lightning wants one for what it links."""
        super()._dump_config()
        self.config_dump["model"]["init_args"]["network"].setdefault("init_args", {})

    def before_instantiate_classes(self) -> None:
        """Check what the table decides and nothing else may."""
        config = self.config[self.subcommand]
        total = config.stages.scaled(config.epochs_scale, config.auxiliary_scale).total_epochs
        if config.trainer.max_epochs not in (None, total):
            raise UserError(
                f"trainer.max_epochs is {config.trainer.max_epochs}, but the stages have {total} epochs: leave it out, "
                "and change the rows or epochs_scale"
            )
        if config.data.init_args.get("magnitude", "none") != "none":
            raise UserError("data.magnitude is set by the table: write it in the column magnitude of stages")
        check_learning_rate(config.model)
        given = as_list(config.trainer.callbacks)
        if self.subcommand in ("fit", "plan"):
            check_trainer(config.trainer)
            check_callbacks(map(class_of, given))
        if self.subcommand == "plan":  # these could write files, or ask for a device, as they are made
            for name in ("callbacks", "logger", "plugins", "profiler", "strategy"):
                config.trainer[name] = None
            config.trainer.callbacks = [one for one in given if issubclass(class_of(one), WeightEMA)] or None
        if self.subcommand in scoring.COMMANDS:
            self.scored = scoring.find_checkpoint(config.get("ckpt_path"), _root(config.trainer), config)
            data, classes = config.data.init_args, self.scored[1].get("classes")
            if data.dataset == "folder" and classes and data.class_names is None:
                data.class_names = list(classes)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer of this run, in the folder of the run that it continues."""
        config = self.config_init[self.subcommand]
        self.model.trust = tuple(config.get("trust") or ())
        self.root = _root(config.trainer)
        if self.subcommand in ("fit", "plan"):
            self.model.averaging = averaging_of(as_list(config.trainer.callbacks))
            self.model.prepare(self.datamodule)
        if self.subcommand in scoring.COMMANDS:
            self._prepare_scoring(self.scored[1], bool(config.get(scoring.ALLOW.lstrip("-"))))
        self.ckpt_path = self._find_checkpoint(config.get("ckpt_path"))
        self.epochs_done, self.rows = self._progress()
        self.folder = None if self.ckpt_path is None else runs.folder_to_continue(self.ckpt_path, self.root)
        if self.subcommand in ("fit", "plan") and self.ckpt_path is None and config.init_from is not None:
            start_from(self.model, config.init_from)
        if self.subcommand == "plan":
            self.datamodule.check_batch_size(_processes(config.trainer))
            self._epoch()
            return Commands.__new__(Commands)  # not set up: a plan asks for no device
        trainer = super().instantiate_trainer(
            max_epochs=self.model.stages.total_epochs,
            logger=self._logger(config.trainer),
            callbacks=self._callbacks(config.trainer),
            plugins=[*as_list(config.trainer.plugins), AtomicCheckpointIO()],
            **kwargs,
        )
        check_device(config.trainer, trainer)
        if self.subcommand == "fit" and trainer.local_rank == 0:  # the others wait until the first has downloaded
            self.datamodule.check_batch_size(trainer.world_size)
            self._epoch()
            self.datamodule.load()
        return trainer

    def fit(self, model: LightningModule, **kwargs: Any) -> None:
        """Train, or show the table of a run that has nothing left to do."""
        if self.ckpt_path is not None and self.epochs_done >= self.model.stages.total_epochs:
            print(f"{self.ckpt_path} has all {self.epochs_done} epochs of its table behind it")
            show(self.rows, self.ckpt_path.parent.parent)
            print(f"It holds {weights_of(self.model.averaging)}")
            return
        resumed = None if self.ckpt_path is None or self.folder is None else runs.progress(self.ckpt_path)
        trainer = self.trainer
        assert isinstance(trainer, Commands)
        trainer.agree_on_sigterm()
        try:
            with trainer.in_run_folder(self.root, self.folder, resumed), exit_status_of_signals():
                trainer.fit(model, **kwargs)
        except StoppedError as stop:
            raise StoppedError(stop.signal, self._describe_stop(stop.signal)) from None
        if self.model.epochs_done < self.model.stages.total_epochs and not self.config["fit"].trainer.fast_dev_run:
            rank_zero_only(print)(self._describe_stop(stop_reason(trainer)))

    def _describe_stop(self, reason: str) -> str:
        saved = self.config[self.subcommand].trainer.enable_checkpointing is not False
        return describe_stop(reason, self.model.stages, self.model.epochs_done, self.words, saved)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep the arguments for the command that resumes the run."""
        self.words = sys.argv[1:] if args is None else list(map(str, cast(Sequence[str], args)))
        super().parse_arguments(parser, args)

    def predict(self, model: LightningModule, **kwargs: Any) -> None:
        """Write predictions.csv; the probabilities of all classes are not kept."""
        self.trainer.predict(model, **kwargs | {"return_predictions": False})

    def plan(self, model: Classifier, datamodule: ImageData, **kwargs: Any) -> None:
        """Print the plan of a run, and how far the run is that is continued."""
        print_plan(model, datamodule, self._epoch())
        if self.ckpt_path is not None:
            held = weights_of(model.averaging)
            print(f"{self.ckpt_path} has {self.epochs_done} epochs behind it; it holds {held}")

    def teacher_report(self, **kwargs: Any) -> None:
        """Set several teachers side by side."""
        teachers = self.config_init[self.subcommand].teachers
        allow = bool(self.config_init[self.subcommand].get(scoring.ALLOW.lstrip("-")))
        report(self.trainer, self.datamodule, teachers, self.root, self.model.trusted_modules(), allow)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return super()._prepare_subcommand_kwargs(subcommand) | {"ckpt_path": self.ckpt_path}

    def _find_checkpoint(self, given: str | None) -> Path | None:
        """Turn `last`, `best` or a path into a file; None starts from scratch."""
        if self.subcommand in scoring.COMMANDS:
            return self.scored[0]
        if self.subcommand == "teacher-report" or given is None:
            return None
        if given != "last":
            read = checkpoint.read(given)
            checkpoint.check_continues(read["dasc"], self._current())
            checkpoint.check_complete(read, Path(given))
            return Path(given)
        path, reason = runs.newest_to_continue(self.root, self._current())
        if path is None:
            newest = f" ({reason})" if reason else ""
            print(f"No run under {self.root / runs.LOGS} can be continued by this config{newest}: starting a new one")
        elif reason:
            print(reason)
        return path

    def _prepare_scoring(self, recorded: dict[str, Any], allow_training_images: bool) -> None:
        """Give the images to the network of a checkpoint as its run did, if it was not trained on them."""
        self.datamodule.use(recorded)
        part = {"validate": "val", "test": "test"}.get(str(self.subcommand))
        if part is not None and not allow_training_images:
            self.datamodule.source.check_unseen(part, recorded, scoring.ALLOW)

    def _progress(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the epochs and the finished rows that the run to continue has behind it."""
        if self.ckpt_path is None:
            return 0, []
        recorded = checkpoint.read(self.ckpt_path)["dasc"]
        return recorded["epochs_done"], recorded.get("rows", [])

    def _epoch(self) -> Epoch:
        """Return what an epoch takes.

        Raises:
            UserError: The trainer's limits leave no batch of it.
        """
        trainer, images = self.config[self.subcommand].trainer, self.datamodule.counts()["train"]
        limit = trainer.overfit_batches or trainer.limit_train_batches
        epoch = epoch_of(images, self.datamodule.batch_size, limit, trainer.accumulate_grad_batches)
        if epoch.steps == 0:
            name = "overfit_batches" if trainer.overfit_batches else "limit_train_batches"
            batches = images // self.datamodule.batch_size
            raise UserError(f"trainer.{name} must leave one of the {batches} batches of an epoch, got {limit}")
        return epoch

    def _current(self) -> dict[str, Any]:
        settings = trainer_settings(self.config[self.subcommand].trainer)
        current: dict[str, Any] = self.model.describe()
        data = self.datamodule
        current |= {"classes": list(data.class_names), "data": data.describe(), "split": data.source.record()}
        return current | {"trainer": settings}

    def _logger(self, trainer: Any) -> Any:
        """Return the logger of the config; the default of fit is TensorBoardLogger into the run folder."""
        given = trainer.logger
        if isinstance(given, Logger | list):
            if not trainer.fast_dev_run and (self.subcommand != "fit" or self.folder is None):
                loggers.check_nothing_deleted(as_list(given))
            return given
        if given is False or self.subcommand != "fit":
            return given or False
        root = self.root if self.folder is None else self.folder.parent.parent
        return TensorBoardLogger(root, name=runs.LOGS, default_hp_metric=False)

    def _callbacks(self, trainer: Any) -> list[Callback]:
        given = as_list(trainer.callbacks)
        if self.subcommand == "predict":
            return [PredictionWriter(self.root), *given]
        if self.subcommand != "fit":
            return given
        check_names(given)
        stages = self.model.stages
        report = StageReport(stages)
        ours: list[Callback] = [StopNotFinite(stages), *column_callbacks(stages, self.model)]
        ours += [RecalibrateBatchNorm(stages), Timing(stages), report]
        ours += [SelectionReport()] if isinstance(self.model, DistilledClassifier) else []
        if trainer.logger is not False:
            ours += [AugmentedImages(stages), Board(stages)]
        if trainer.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in given):
            ours.append(StageProgressBar(stages))
        if trainer.enable_checkpointing is not False:
            ours.append(StageCheckpoint(stages, report))
        return [*ours, *given]


setattr(Command, "teacher-report", Command.teacher_report)  # the name of the command


_CLI: dict[str, Any] = {
    "model_class": Classifier,
    "datamodule_class": ImageData,
    "trainer_class": Commands,
    "parser_class": Parser,
    "subclass_mode_model": True,
    "subclass_mode_data": True,
    "auto_configure_optimizers": False,
    "seed_everything_default": 0,
    "save_config_callback": SaveConfig,
    "save_config_kwargs": {"overwrite": True},
    "trainer_defaults": {
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    },
}


def run(args: ArgsType = None) -> Command:
    """Run a command, such as fit, with its arguments; None takes those of the process."""
    return Command(**_CLI, parser_kwargs=parser_kwargs(Command.subcommands()), args=args)


class Reader(Command):
    """Reads what fit is given as fit does, many times over, and runs nothing."""

    def __init__(self) -> None:
        self.subcommand = "fit"
        super().__init__(**_CLI, parser_kwargs=parser_kwargs(Command.subcommands()))

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Leave the arguments of the process alone."""
        self.config = Namespace(subcommand="fit")  # type: ignore[no-untyped-call]

    def _set_seed(self) -> None: ...

    def before_instantiate_classes(self) -> None:
        """Nothing is read yet."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None: ...

    def read(self, args: list[str], whole: bool = False) -> dict[str, Any]:
        """Return the resolved config of `dasc fit` with these arguments, as plain data.

        Args:
            args: What would stand behind `dasc fit`.
            whole: Whether what is None is kept.
        """
        self.config = self.parser.parse_args(["fit", *args])
        super().before_instantiate_classes()
        dumped = self.parser.dump(self.config, skip_none=not whole, format="yaml")
        config: dict[str, Any] = yaml.safe_load(dumped)["fit"]
        return config

    def make(self, config: Mapping[str, Any]) -> tuple[Classifier, ImageData]:
        """Return the module and the data of a config that was read, as before any training."""
        kept = {key: value for key, value in config.items() if key != "trainer"}
        self.config = self.parser.parse_object({"subcommand": "fit", "fit": kept})
        self.__dict__.pop("config_dump", None)  # Lightning's copy of the config, which it keeps from the one before
        made = self.parser.instantiate_classes(self.config)["fit"]
        return made["model"], made["data"]


def _root(trainer: Any) -> Path:
    """Return the folder that contains lightning_logs/."""
    return Path(os.path.expandvars(trainer.default_root_dir or ".")).expanduser()


def _processes(trainer: Any) -> int:
    """Return how many processes the config names; one where that is found out as a run starts."""
    devices = trainer.devices
    count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
    return max(count, 1) * int(trainer.num_nodes)


def _scaled(stages: Stages | None, epochs_scale: float, auxiliary_scale: float) -> Stages | None:
    return None if stages is None else stages.scaled(epochs_scale, auxiliary_scale)
