"""Readable help texts of options: short types, short lists of classes, and no markup."""

import argparse
import re
from collections.abc import Sequence

from jsonargparse import DefaultHelpFormatter

NETWORKS = "dasc.networks"
"""Classes of other modules are not listed for an option that takes any `torch.nn.Module`."""

OF_USERS = ("lightning.pytorch.cli.", "lightning.Callback", "torch.optim.Optimizer")
"""Classes that are listed by jsonargparse and are no choice of a user: base classes and those of other commands."""

_KNOWN = re.compile(r",? ?known subclasses: ([^()]*)(?=\)$)")
_TYPE = re.compile(r"type: (.*?)(?=, default: |, known subclasses: |\)$)")
_ROLE = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)[^`]*`")
_DEFAULT_OF_DOCSTRING = re.compile(r" *Default: `*[\"']?[\w.-]+[\"']?`*\.(?= |$)")


class Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Formatter that keeps the lines of a description and makes the texts of options readable."""

    def add_usage(
        self,
        usage: str | None,
        actions: "argparse._ActionsContainer | Sequence[argparse.Action]",
        *args: object,
        **kwargs: object,
    ) -> None:
        """Add the usage that was given; one that lists every option of a class is left out."""
        if usage is not None:
            super().add_usage(usage, actions, *args, **kwargs)

    def format_help(self) -> str:
        """Return the help with the options of the trainer, most of which are Lightning's, last."""
        first, *groups = re.split(r"\n(?=\S.*:\n  -)", super().format_help())
        return "\n".join([first, *sorted(groups, key=lambda group: "\n  --trainer." in group)])

    def _split_lines(self, text: str, width: int) -> list[str]:
        return super()._split_lines(readable(text), width)


def readable(text: str) -> str:
    """Return the help text of an option with short types and a short list of classes, without markup.

    Args:
        text: Text of jsonargparse, which ends in the type, the default and the known classes in parentheses.
    """
    text = _DEFAULT_OF_DOCSTRING.sub("", _ROLE.sub(r"\1", text)).replace("``", "")
    text = _TYPE.sub(lambda match: f"type: {_short_type(match[1])}", text)
    return _KNOWN.sub(lambda match: _classes(match[1].split(", ")), text).replace(" ()", "").lstrip()


def _classes(paths: Sequence[str]) -> str:
    """Return the names of the classes to choose from."""
    if "torch.nn.Module" in paths:
        paths = [path for path in paths if path.rpartition(".")[0] == NETWORKS]
    names = sorted({path.rpartition(".")[2] for path in paths if not path.startswith(OF_USERS)})
    return f"; one of {', '.join(names)}, or the import path of your own, such as my_package.MyClass"


def _short_type(text: str) -> str:
    """Return a type such as `Union[int, Literal['a', 'b'], null]` as `int | a | b | null`."""
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    while (shorter := re.sub(r"Optional\[((?:[^\[\]]|\[[^\[\]]*\])*)\]", r"Union[\1, null]", text)) != text:
        text = shorter
    for name in ("Literal", "Union"):
        text = re.sub(rf"{name}\[((?:[^\[\]]|\[[^\[\]]*\])*)\]", lambda match: " | ".join(match[1].split(", ")), text)
    return text.replace("'", "")
