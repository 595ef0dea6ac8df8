"""Readable help texts of options: short types, short lists of classes, and no markup."""

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any

from jsonargparse import DefaultHelpFormatter

from dasc.importing import import_object

NETWORKS = "dasc.networks"
"""Classes of other modules are not listed for an option that takes any `torch.nn.Module`."""

_KNOWN = re.compile(r",? ?known subclasses: ([^()]*)(?=\)$)")
_TYPE = re.compile(r"type: (.*?)(?=, default: |, known subclasses: |\)$)")
_ROLE = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)[^`]*`")
_DEFAULT_OF_DOCSTRING = re.compile(r" *Default: `*[\"']?[\w.-]+[\"']?`*\.(?= |$)")


class Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Formatter that keeps the lines of a description and makes the texts of options readable."""

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *args: Any, **kwargs: Any) -> None:
        """Add the usage that was given; one that lists every option of a class is left out."""
        if usage is not None:
            super().add_usage(usage, actions, *args, **kwargs)

    def format_help(self) -> str:
        """Return the help without links between options, and with those of the trainer, mostly Lightning's, last."""
        first, *groups = re.split(r"\n(?=\S.*:\n  \S)", super().format_help())
        groups = [f"{group.rstrip()}\n" for group in groups if not group.startswith("Linked arguments:")]
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


def shown_names(paths: Sequence[str]) -> list[str]:
    """Return the names of the classes that a user may choose, sorted.

    Args:
        paths: Import paths of all known classes, as jsonargparse lists them.
    """
    if "torch.Tensor" in paths:
        return []
    if "torch.nn.Module" in paths:
        paths = [path for path in paths if path.rpartition(".")[0] == NETWORKS]
    if "lightning.Callback" in paths:
        paths = [path for path in paths if _is_callback_of_user(path)]
    return sorted({path.rpartition(".")[2] for path in paths if path != "torch.optim.Optimizer"}, key=str.lower)


def _is_callback_of_user(path: str) -> bool:
    """Return whether a callback may be added to a training, which refuses some and adds those of dasc itself."""
    from dasc.callbacks.refused import REFUSED  # imports Lightning, as the parser does

    if path.startswith("dasc.") or not path.startswith("lightning.pytorch.callbacks."):
        return path == "dasc.callbacks.WeightEMA"
    kind = import_object(path)
    return not kind.__name__.startswith("Base") and not issubclass(kind, tuple(REFUSED))


def _classes(paths: Sequence[str]) -> str:
    names = shown_names(paths)
    if not names:
        return ""
    return f"; one of {', '.join(names)}, or the import path of your own, such as my_package.MyClass"


def _short_type(text: str) -> str:
    """Return a type such as `Union[int, Literal['a', 'b'], null]` as `int | a | b | null`."""
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    innermost = re.compile(
        r"(Optional|Union|Literal)\[([^\[\]]*(?:\b(?!Optional|Union|Literal)\w+\[[^\[\]]*\][^\[\]]*)*)\]"
    )
    while (shorter := innermost.sub(_alternatives, text)) != text:
        text = shorter
    return text.replace("'", "")


def _alternatives(match: re.Match[str]) -> str:
    parts = re.split(r", (?![^\[]*\])", match[2])
    return " | ".join(dict.fromkeys([*parts, *["null"] * (match[1] == "Optional")]))
