"""What `--help` says of the command and of each subcommand."""

import argparse
from collections.abc import Iterable
from typing import Any

from jsonargparse import DefaultHelpFormatter

from dasc import __version__
from dasc.stages import COLUMNS
from dasc.trainer import RunTrainer

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
  --trainer.KEY VALUE    devices, precision and more of Lightning's Trainer"""


class Commands(RunTrainer):
    """Lightning's Trainer: devices, precision, loggers and more."""

    # --help shows the first lines of these methods, Lightning's own are cut there

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Train and prune through the table of stages."""
        super().fit(*args, **kwargs)

    def validate(self, *args: Any, **kwargs: Any) -> Any:
        """Score a checkpoint on the validation images."""
        return super().validate(*args, **kwargs)

    def test(self, *args: Any, **kwargs: Any) -> Any:
        """Score a checkpoint on the test images."""
        return super().test(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Write predictions.csv for the test images."""
        return super().predict(*args, **kwargs)

    def plan(self, weights_only: bool | None = None) -> None:
        """Print what fit would do, without training.

        Args:
            weights_only: Not used; here so that every config of fit is one of plan.
        """

    def teacher_report(self, weights_only: bool | None = None) -> None:
        """Compare teachers on the test images.

        Args:
            weights_only: Not used; here so that every config of fit is one of teacher-report.
        """


setattr(Commands, "teacher-report", Commands.teacher_report)  # the name of the command


class _Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Leaves the lines of a description as they are."""


def parser_kwargs(names: Iterable[str]) -> dict[str, Any]:
    """Return what --help and --version say, by command."""
    common: dict[str, Any] = {"exit_on_error": False, "formatter_class": _Help}
    kwargs = common | {"prog": "dasc", "version": __version__, "description": f"{ABOUT}\n\n{STUDY}"}
    for name in names:
        what = str(getattr(Commands, name).__doc__).partition("\n")[0]
        checkpoint, example = ("what to score; or best, or last", " --ckpt_path best")
        if name in ("fit", "plan"):
            checkpoint, example = ("continue its run; or last", "")
        if name == "teacher-report":
            checkpoint, example = ("not used", " --teachers A.ckpt B.ckpt")
        example = f"dasc {name} --config configs/prune_decay.yaml{example}"
        description = f"{what}\n\n  {example}\n\n{OPTIONS.format(checkpoint=checkpoint, columns=', '.join(COLUMNS))}"
        kwargs[name] = common | {"usage": f"dasc {name} [options]", "description": description}
    return kwargs
