"""Parser of the commands that are not on the config of a training; it needs no library."""

import argparse
import re
from argparse import SUPPRESS
from collections.abc import Sequence
from typing import Any, NoReturn

from dasc.errors import UserError, unknown_name


class ArgumentParser(argparse.ArgumentParser):
    """Parser that raises the user's mistakes, and does not accept abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        self._options: list[str] = []
        self._has_positionals = False
        super().__init__(**settings, allow_abbrev=False)

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """As `argparse.ArgumentParser`."""
        self._has_positionals |= not any(name.startswith("-") for name in names)
        if settings.get("help") != SUPPRESS:
            self._options += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong.

        Raises:
            UserError: Always.
        """
        message = re.sub(r"^argument (\S+): invalid choice: ('[^']*') \(choose from (.*)\)", _choice, message)
        message = re.sub(r"^the following arguments are required: (\S+)", r"\1 is missing", message)
        message = re.sub(r"^argument (\S+): expected one argument", r"\1 has no value", message)
        message = re.sub(r"^argument (\S+): (?=must be)", r"\1 ", message)
        raise UserError(f"{message}: see {self.prog} --help")

    def parse_all(self, words: Sequence[str], name: str, hint: str) -> argparse.Namespace:
        """Parse words that must all be options and their values, or positional arguments if the parser has some.

        Args:
            words: The words.
            name: The command, for errors.
            hint: How a word without an option is written, such as `write --images {word}`.

        Raises:
            UserError: One is not.
        """
        parse = self.parse_known_intermixed_args if self._has_positionals else self.parse_known_args
        given, rest = parse(words)
        for word in rest:
            if not word.startswith("-"):
                raise UserError(f"'{word}' must follow an option: {hint.format(word=word)}")
            raise UserError(unknown_name(f"option of {name}", word.partition("=")[0], self._options))
        return given


def _choice(found: re.Match[str]) -> str:
    return f"{found[1]} must be one of {found[3].replace(chr(39), '')}, got {found[2]}"


def number_from_one(text: str) -> int:
    """Return the integer >= 1 in the text of an option.

    Raises:
        ArgumentTypeError: It is another text.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text}")
    if int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"must be an integer below {2**31}, got {text}")
    return int(text)


def add_checkpoint_options(parser: argparse.ArgumentParser, accepted: str) -> None:
    """Add the options of a command that takes a checkpoint alone: `--ckpt_path`, `--root` and `--trust`.

    Args:
        parser: The parser.
        accepted: What `--ckpt_path` may be.
    """
    parser.add_argument("--ckpt_path", metavar="PATH", help=accepted)
    add_root_options(parser)


def add_root_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that loads checkpoints: `--root` and `--trust`."""
    parser.add_argument(
        *("--root", "--trainer.default_root_dir"),
        dest="root",
        metavar="DIR",
        default=".",
        help="for best and last: the folder that contains lightning_logs/ (the current one)",
    )
    trust = "a module whose network class may be imported"
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE", help=trust)
