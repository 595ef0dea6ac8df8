"""`--KEY.help` of options that take a class: those of the model and the data, and without a class, the classes."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from itertools import pairwise
from typing import Any

from dasc.parser import Parser

WHOLE = {"model": "DistilledClassifier", "data": "ImageData"}
"""Classes with all arguments that `--model.KEY.help` and `--data.KEY.help` know, if the words name no class."""


def class_help(parser: Parser, words: Sequence[str]) -> str | None:
    """Return the help that some words ask for; None if they ask for none, or the parser alone prints it.

    Args:
        parser: Parser of a command.
        words: The words after the command.
    """
    for index, word in enumerate(words):
        match = re.fullmatch(r"--((\w+)\.[\w.]+)\.help(?:=(.+))?", word)
        if match is None:
            continue
        key, root, name = match.groups()
        following = words[index + 1 : index + 2]
        if name is None and following and not following[0].startswith("-"):
            (name,) = following
        if name is None:
            return _classes_of(parser, words, key, root)
        if root in WHOLE and f"--{root}.help" not in words:
            return _print(parser, [f"--{root}.help", _class(words, root), f"--{key}.help", name])
    return None


def _classes_of(parser: Parser, words: Sequence[str], key: str, root: str) -> str | None:
    """Return the part of a help on the option `--KEY`, which has the classes."""
    text = _print(parser, [f"--{root}.help", _class(words, root)] if root in WHOLE else ["--help"])
    part = re.search(rf"^  --{re.escape(key)}[ ,].*\n(?:    .*\n)*", text, re.MULTILINE)
    if part is None or "; one of" not in " ".join(part[0].split()):
        return None
    return f"{part[0]}\nArguments of one of them: --{key}.help CLASS\n"


def _class(words: Sequence[str], root: str) -> str:
    """Return the class that the words name for the model or the data."""
    options: dict[str, Any] = dict(pairwise(words))
    options |= {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    return str(options.get(f"--{root}.help") or options.get(f"--{root}") or WHOLE[root])


def _print(parser: Parser, words: Sequence[str]) -> str:
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        parser.parse_args(list(words))
    return text.getvalue()
