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
    """Read an axis as it stands in a study file, and return its overrides by label.

    It is either `{KEY: VALUES}`, one override for each value of a list or a range such as `0..30`, or
    `{LABEL: {KEY: VALUE, ...}, ...}`.

    Raises:
        UserError: It is neither.
    """
    if not isinstance(given, dict) or not given:
        raise UserError(
            f"axis {name} is written {{stages[*].magnitude: 0..30}} or {{LABEL: {{KEY: VALUE}}}}, not {given!r}"
        )
    if all(value is None or isinstance(value, dict) for value in given.values()):
        return {str(label): parse_override(f"axis {name}, {label}", value) for label, value in given.items()}
    if len(given) > 1:
        raise UserError(
            f"axis {name} has several keys with values: write one key with its values, or {{LABEL: {{KEY: VALUE}}}} "
            "for each label"
        )
    ((key, values),) = given.items()
    listed = expand(values)
    if not listed:
        raise UserError(f"axis {name} has no values: write a list, or a range such as 0..30")
    labels: dict[str, Override] = {label_of(value): {str(key): value} for value in listed}
    if len(labels) < len(listed):
        raise UserError(f"axis {name} has a value twice in {list(map(label_of, listed))}: two cells would be the same")
    return labels


def parse_override(where: str, given: Any) -> Override:
    """Read the values of a label by their keys; none at all leave the config as it is."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UserError(f"{where}: overrides are written {{KEY: VALUE}}, not {given!r}")
    return {str(key): value for key, value in given.items()}


def expand(values: Any) -> list[Any]:
    """Return the values of a list or a range; a range may stand in a list."""
    listed = values if isinstance(values, list) else [values]
    expanded: list[Any] = []
    for value in listed:
        numbers = _RANGE.fullmatch(value) if isinstance(value, str) else None
        expanded += [value] if numbers is None else range(int(numbers[1]), int(numbers[2]) + 1)
    return expanded


def label_of(value: Any) -> str:
    """Return the label of a value that has none of its own."""
    return value if isinstance(value, str) else json.dumps(value)


def is_rows(key: str) -> bool:
    """Whether a key names rows of the table by their position."""
    return _ROWS.fullmatch(key) is not None


def with_rows(rows: list[dict[str, Any]], key: str, value: Any) -> list[dict[str, Any]]:
    """Return the table with a column set in the rows that a key names.

    Raises:
        UserError: No row is at that position, or there is no such column.
    """
    named = _ROWS.fullmatch(key)
    assert named is not None
    if named["column"] not in COLUMNS:
        raise UserError(f"{key}: {unknown_name('column', named['column'], COLUMNS)}")
    numbers = _numbers(named["rows"], len(rows))
    if not numbers:
        raise UserError(f"{key} names no row: the table has {len(rows)}, the first is stages[0]")
    return [row | {named["column"]: value} if number in numbers else row for number, row in enumerate(rows)]


def is_seed(labels: Mapping[str, Override]) -> bool:
    """Whether an axis changes the seed and nothing else."""
    return all(set(override) == {SEED} for override in labels.values())


def _numbers(rows: str, count: int) -> set[int]:
    if rows == "*":
        return set(range(count))
    if ":" in rows:
        start, _, stop = rows.partition(":")
        return set(range(count)[int(start) if start else None : int(stop) if stop else None])
    position = int(rows)
    return {position % count} if -count <= position < count else set()
