"""`dasc teacher-report`: compare teachers."""

from collections.abc import Sequence

from jsonargparse import Namespace

from dasc.cli.command import Command
from dasc.cli.help import command_help
from dasc.cli.registry import COMMANDS
from dasc.cli.training import TrainingCLI
from dasc.config import add_allow_option, add_unused_weights_only, training_parser
from dasc.parser import Parser
from dasc.teacher_report import report

SUMMARY = COMMANDS["teacher-report"].summary


def make_parser() -> Parser:
    """Return the parser of the options: those of fit, and the teachers."""
    help_texts = command_help("teacher-report", SUMMARY, "not used", "--teachers A.ckpt B.ckpt")
    parser = training_parser(**help_texts)
    add_unused_weights_only(parser, "teacher-report", SUMMARY)
    parser.add_argument(
        "--teachers",
        nargs="+",
        type=str,
        required=True,
        help="The teachers: checkpoints, or folders with runs in them.",
    )
    add_allow_option(parser)
    return parser


def run(parser: Parser, config: Namespace, words: Sequence[str]) -> None:
    """Test the teachers with the trainer and the data of a config, print a table and write teachers.csv."""
    cli = TrainingCLI(parser, config)
    trusted = cli.model.trusted_modules()
    report(cli.trainer, cli.datamodule, config.teachers, cli.root, trusted, config.allow_training_images)


COMMAND = Command("teacher-report", SUMMARY, make_parser, run)
