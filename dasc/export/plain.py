"""Dataclasses as strict JSON, and back."""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")

_SCALARS: dict[Any, str] = {str: "a text", bool: "true or false", int: "an integer", float: "a finite number"}


class ShapeError(ValueError):
    """A value is not what its place in a dataclass permits: `PLACE must be RULE`."""


def to_json(value: Any) -> str:
    """Return a dataclass of plain data as JSON; NaN and infinity become null."""
    return json.dumps(plain(value), indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return dataclasses, mappings and sequences as what `json.loads` would return of them; NaN becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON.

    Raises:
        ValueError: It is no JSON, is nested too deeply, or has NaN or infinity.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read(kind: type[_T], value: Any, place: str = "") -> _T:
    """Return parsed JSON as a dataclass; the inverse of `plain`.

    Args:
        kind: A dataclass whose fields are texts, numbers, dataclasses, tuples, mappings with texts as keys, such a type
            or None, or Any.
        value: The parsed JSON.
        place: The path to the value, for errors.

    Raises:
        ShapeError: A field is missing, foreign or of another type.
    """
    result: _T = _read(kind, value, place)
    return result


def _read(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if kind in _SCALARS:
        return _scalar(kind, value, place)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _read(inner, value, place)
    if origin is tuple:
        return _tuple(arguments, value, place)
    if not isinstance(value, dict):
        raise ShapeError(f"{place or 'the content'} must be an object")
    if not dataclasses.is_dataclass(kind):  # a mapping
        return {name: _read(arguments[1], entry, f"{place}.{name}") for name, entry in value.items()}
    hints = get_type_hints(kind)
    for name in [*hints, *value]:
        if (name in hints) != (name in value):
            raise ShapeError(f"{_below(place, name)} {'is missing' if name in hints else 'is no key of it'}")
    make: Any = kind
    return make(**{name: _read(hint, value[name], _below(place, name)) for name, hint in hints.items()})


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _scalar(kind: Any, value: Any, place: str) -> Any:
    accepted = (int, float) if kind is float else kind
    is_bool = isinstance(value, bool)
    if is_bool != (kind is bool) or not isinstance(value, accepted):
        raise ShapeError(f"{place} must be {_SCALARS[kind]}")
    if kind is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ShapeError(f"{place} must be {_SCALARS[float]}")
    return number


def _tuple(kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ShapeError(f"{place} must be a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ShapeError(f"{place} must have {len(kinds)} entries")
    return tuple(_read(kind, entry, f"{place}[{i}]") for i, (kind, entry) in enumerate(zip(kinds, value, strict=True)))
