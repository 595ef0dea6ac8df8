"""`dasc validate`, `dasc test` and `dasc predict`: a checkpoint on the validation or the test images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback

from dasc import scoring
from dasc.callbacks import PredictionWriter
from dasc.cli.command import Command
from dasc.cli.help import command_help
from dasc.cli.registry import COMMANDS
from dasc.cli.training import TrainingCLI
from dasc.config import add_allow_option, add_method_options, training_parser
from dasc.parser import Parser


class Scoring(TrainingCLI):
    """A checkpoint, and the images that it is scored on."""

    part: str | None = None
    """The images, `val` or `test`, that the checkpoint must not be trained on; None if that is not checked."""

    scored: Path
    """The checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Check the config and find the checkpoint, whose classes those of image folders must be."""
        super().before_instantiate_classes()
        self.scored, self.recorded = scoring.find_checkpoint(self.config.get("ckpt_path"), self.root, self.config)
        data, classes = self.config.data.init_args, self.recorded.get("classes")
        if data.dataset == "folder" and classes and data.class_names is None:
            data.class_names = list(classes)

    def prepare(self) -> None:
        """Prepare the images as the checkpoint's run did, if it was not trained on them."""
        self.datamodule.use(self.recorded)
        if self.part is not None and not self.config.allow_training_images:
            self.datamodule.source.check_unseen(self.part, self.recorded, scoring.ALLOW)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that Lightning's validate, test and predict share."""
        of_checkpoint = {"ckpt_path": self.scored, "weights_only": self.config.weights_only}
        return {"model": self.model, "datamodule": self.datamodule} | of_checkpoint


class Validation(Scoring):
    """A checkpoint and the validation images."""

    part = "val"


class Test(Scoring):
    """A checkpoint and the test images."""

    part = "test"


class Prediction(Scoring):
    """A checkpoint and the test images, of which predictions.csv is written."""

    def callbacks(self) -> list[Callback]:
        """Return the callback that writes predictions.csv, and those of the config."""
        return [PredictionWriter(self.root), *super().callbacks()]


def _validate(parser: Parser, config: Namespace, words: Sequence[str]) -> Scoring:
    cli = Validation(parser, config)
    cli.trainer.validate(**cli.arguments(), verbose=config.verbose)
    return cli


def _test(parser: Parser, config: Namespace, words: Sequence[str]) -> Scoring:
    cli = Test(parser, config)
    cli.trainer.test(**cli.arguments(), verbose=config.verbose)
    return cli


def _predict(parser: Parser, config: Namespace, words: Sequence[str]) -> Scoring:
    cli = Prediction(parser, config)
    cli.trainer.predict(**cli.arguments(), return_predictions=False)  # predictions.csv has them
    return cli


def _command(name: str, run: Callable[[Parser, Namespace, Sequence[str]], Scoring]) -> Command:
    summary = COMMANDS[name].summary

    def make_parser() -> Parser:
        help_texts = command_help(name, summary, "what to score; or best, or last", "--ckpt_path best")
        parser = training_parser(**help_texts)
        add_method_options(parser, name, summary)
        if name != "predict":
            add_allow_option(parser)
        return parser

    return Command(name, summary, make_parser, run)


VALIDATE = _command("validate", _validate)
TEST = _command("test", _test)
PREDICT = _command("predict", _predict)
