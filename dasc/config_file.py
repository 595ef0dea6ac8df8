"""Checks of config files before their options are parsed, and the lines of options in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dasc.errors import UserError

_STUDY_KEYS = ("axes", "configs", "before", "extends", "baseline")


def read_mapping(path: str | Path, what: str = "config") -> dict[str, Any]:
    """Read a YAML file that must be a mapping.

    Args:
        path: The file.
        what: What the file is, for errors.

    Raises:
        UserError: It is missing, cannot be read, is not YAML, is empty, or is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be a text file in UTF-8, got other bytes at position {error.start}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path of the {what} file") from None
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}{describe_yaml_error(error, text)}") from None
    if given is None:
        raise UserError(f"{path} is empty: it must be {_FORMS[what]}")
    if not isinstance(given, dict):
        kind = "a list" if isinstance(given, list) else f"the text {given!r}" if isinstance(given, str) else f"{given}"
        raise UserError(f"{path} must be {_FORMS[what]}, got {kind}")
    return given


_FORMS = {
    "config": "a mapping of options, such as trainer: {devices: 1}",
    "study": "a mapping with the keys name, configs and axes",
}


def describe_yaml_error(error: yaml.YAMLError, text: str) -> str:
    """Return the line and the reason of a YAML error, as what follows the name of the file."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = 0 if mark is None else mark.line
    lines = text.splitlines()
    if line < len(lines) and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]:
        return f", line {line + 1}: YAML is indented with spaces, got a tab: replace it by spaces"
    reason = getattr(error, "problem", None) or "a character that is not allowed"
    context = getattr(error, "context", None)
    start = getattr(error, "context_mark", None)
    begun = f" {context}" if context else ""
    begun += f" from line {start.line + 1}" if context and start is not None and start.line != line else ""
    return f", line {line + 1}: this is not YAML: {reason}{begun}"


def check_config_file(path: str | Path) -> None:
    """Check that a file may be a config of `dasc fit`.

    Raises:
        UserError: It is not a mapping, it is a study file, or `trainer` is not a mapping.
    """
    given = read_mapping(path)
    if ("name" in given and any(key in given for key in _STUDY_KEYS)) or "axes" in given:
        raise UserError(f"{path} is a study file, not a config: run it by dasc study run {path}")
    for key, value in given.items():
        if key == "trainer" and not isinstance(value, dict):
            shown = "null" if value is None else repr(value)
            raise UserError(f"{path}: trainer must be a mapping such as {{devices: 1}}, got {shown}")
    if given and all(value is None for value in given.values()):
        raise UserError(f"{path}: {next(iter(given))} has no value: write one, or leave the line out")


def line_of(path: str | Path, keys: Sequence[str]) -> int | None:
    """Return the line, from 1, in which a YAML file sets an option; None if it does not.

    Args:
        path: The file, which is valid YAML.
        keys: The keys of the option, without `init_args`; keys within a list are those of any item.
    """
    node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return _line(node, [part for key in keys for part in key.split(".")])


def _line(node: yaml.Node | None, keys: Sequence[str]) -> int | None:
    if isinstance(node, yaml.SequenceNode):
        return next((line for item in node.value if (line := _line(item, keys)) is not None), None)
    if not isinstance(node, yaml.MappingNode) or not keys:
        return None
    values = {key.value: (key.start_mark.line + 1, value) for key, value in node.value}
    if keys[0] in values:
        line, value = values[keys[0]]
        deeper = _line(value, keys[1:])
        return line if len(keys) == 1 else deeper if deeper is not None else None
    dotted = ".".join(keys)
    if dotted in values:
        return int(values[dotted][0])
    return _line(values["init_args"][1], keys) if "init_args" in values else None
