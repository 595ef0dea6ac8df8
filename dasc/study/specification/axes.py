"""Axes of a study: lists of labelled overrides of a config."""

import json
import re
from collections.abc import Mapping
from typing import Any

from dasc.errors import UserError, unknown_name
from dasc.stages import COLUMNS

Override = Mapping[str, Any]
"""Values by key: an option of `dasc fit` (`data.train_size`), `stages` (a whole table), rows of it by position
(`stages[*].magnitude`, `stages[1:].sparsity`, `stages[-1].epochs`), or `config` (an overlay file)."""

SEED = "seed_everything"

_ROWS = re.compile(r"stages\[(?P<rows>\*|-?\d+|-?\d*:-?\d*)\]\.(?P<column>\w+)")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def parse_axis(name: str, given: Any) -> dict[str, Override]:
    """Return the overrides of `{KEY: VALUES}`, or of `{LABEL: {KEY: VALUE, ...}, ...}`, by label."""
    if not isinstance(given, dict) or not given:
        raise UserError(
            f"axis {name} is written {{stages[*].magnitude: 0..30}} or {{LABEL: {{KEY: VALUE}}}}, not {given!r}"
        )
    if all(value is None or isinstance(value, dict) for value in given.values()):
        return {label_of(label): parse_override(f"axis {name}, {label}", value) for label, value in given.items()}
    if len(given) > 1:
        raise UserError(
            f"axis {name} has several keys with values: write one key with its values, or {{LABEL: {{KEY: VALUE}}}} "
            "for each label"
        )
    ((key, values),) = given.items()
    listed: list[Any] = []
    for value in values if isinstance(values, list) else [values]:
        bounds = _RANGE.fullmatch(value) if isinstance(value, str) else None
        listed += [value] if bounds is None else range(int(bounds[1]), int(bounds[2]) + 1)
    if not listed:
        raise UserError(f"axis {name} has no values: write a list, or a range such as 0..30")
    labels = [label_of(value) for value in listed]
    if len(set(labels)) < len(labels):
        raise UserError(f"axis {name} has a value twice in {labels}: leave one out")
    return {label: {str(key): value} for label, value in zip(labels, listed, strict=True)}


def label_of(value: Any) -> str:
    """Return the label of a value of an axis: text as it is, others as YAML writes them."""
    return value if isinstance(value, str) else json.dumps(value)


def parse_override(where: str, given: Any) -> Override:
    """Return the values of a label by their keys; None is no override."""
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise UserError(f"{where}: overrides are written {{KEY: VALUE}}, not {given!r}")
    return {str(key): value for key, value in given.items()}


def is_rows(key: str) -> bool:
    """Return whether a key names rows of the table by position."""
    return _ROWS.fullmatch(key) is not None


def with_rows(rows: list[dict[str, Any]], key: str, value: Any) -> list[dict[str, Any]]:
    """Return the table with a column set in the rows that a key names."""
    named = _ROWS.fullmatch(key)
    assert named is not None
    if named["column"] not in COLUMNS:
        raise UserError(f"{key}: {unknown_name('column', named['column'], COLUMNS)}")
    start, colon, stop = named["rows"].replace("*", ":").partition(":")
    if colon:
        numbers = range(len(rows))[int(start) if start else None : int(stop) if stop else None]
    else:
        numbers = range(len(rows))[int(start) :][:1] if -len(rows) <= int(start) else range(0)
    if not numbers:
        raise UserError(f"{key} names no row: the table has {len(rows)}, the first is stages[0]")
    return [row | {named["column"]: value} if number in numbers else row for number, row in enumerate(rows)]


def is_seed(labels: Mapping[str, Override]) -> bool:
    """Return whether an axis changes the seed only."""
    return all(set(override) == {SEED} for override in labels.values())
