"""`dasc validate`, `dasc test` and `dasc predict`: a checkpoint on the validation or the test images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback

from dasc import scores, scoring
from dasc.callbacks import PredictionWriter
from dasc.callbacks.count import ImageCount
from dasc.cli.command import Command
from dasc.cli.help import command_help
from dasc.cli.registry import COMMANDS
from dasc.cli.training import TrainingCLI
from dasc.config import add_allow_option, add_method_options, training_parser
from dasc.parser import Parser

IMAGES = """

Images without labels need no config; see dasc predict --images --help:

  dasc predict --ckpt_path best --images photos/ --output predictions.csv"""
"""Text of `dasc predict --help` on its other form."""


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


class _Metrics(Scoring):
    """A checkpoint, and the images that its metrics are computed on."""

    counter: ImageCount

    def callbacks(self) -> list[Callback]:
        """Return the callback that counts the images, and those of the config."""
        self.counter = ImageCount()
        return [self.counter, *super().callbacks()]

    def report(self, results: Sequence[Mapping[str, float]]) -> scores.Scores:
        """Print what Lightning returned, once, unless `--verbose false`; return it with the number of images."""
        result = scores.Scores(results[0] if results else {}, self.counter.images)
        if self.config.verbose and self.trainer.is_global_zero:
            data, part = self.datamodule, {"val": "validation"}.get(str(self.part), self.part)
            name = data.root if data.dataset == "folder" else data.dataset
            print(f"{self.scored} on {result.images} {part} images of {name}:", *result.table(), sep="\n")
        return result


class Validation(_Metrics):
    """A checkpoint and the validation images."""

    part = "val"


class Test(_Metrics):
    """A checkpoint and the test images."""

    part = "test"

    def prepare(self) -> None:
        """Prepare the images, and check the file of earlier results."""
        super().prepare()
        scores.read_records(self.results)

    @property
    def results(self) -> Path:
        """The file of the results."""
        return scores.results_file(self.scored, self.root)

    def write(self, result: scores.Scores) -> None:
        """Write test.json, once; a fast_dev_run and a test without images write nothing."""
        if self.config.trainer.fast_dev_run or not self.trainer.is_global_zero or not result.images:
            return
        record = scores.record(result, self.scored, self.results, self.recorded["network"], self.datamodule)
        scores.add_record(self.results, record)
        if self.config.verbose:
            print(f"Results: {self.results}")


class Prediction(Scoring):
    """A checkpoint and the test images, of which predictions.csv is written."""

    def callbacks(self) -> list[Callback]:
        """Return the callback that writes predictions.csv, and those of the config."""
        return [PredictionWriter(self.root), *super().callbacks()]


def _validate(parser: Parser, config: Namespace, words: Sequence[str]) -> Scoring:
    cli = Validation(parser, config)
    cli.report(cli.trainer.validate(**cli.arguments(), verbose=False))
    return cli


def _test(parser: Parser, config: Namespace, words: Sequence[str]) -> Scoring:
    cli = Test(parser, config)
    cli.write(cli.report(cli.trainer.test(**cli.arguments(), verbose=False)))
    return cli


def _predict(parser: Parser, config: Namespace, words: Sequence[str]) -> Scoring:
    cli = Prediction(parser, config)
    cli.trainer.predict(**cli.arguments(), return_predictions=False)  # predictions.csv has them
    return cli


def _command(name: str, run: Callable[[Parser, Namespace, Sequence[str]], Scoring]) -> Command:
    summary = COMMANDS[name].summary

    def make_parser() -> Parser:
        help_texts = command_help(name, summary, "what to score; or best, or last", "--ckpt_path best")
        if name == "predict":
            help_texts["description"] += IMAGES
        parser = training_parser(**help_texts)
        add_method_options(parser, name, summary)
        if name != "predict":
            add_allow_option(parser)
        return parser

    return Command(name, summary, make_parser, run)


VALIDATE = _command("validate", _validate)
TEST = _command("test", _test)
PREDICT = _command("predict", _predict)
