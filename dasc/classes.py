"""Comparison of class names."""

from collections.abc import Sequence

NAMED = 3
"""Class names at most that an error shows."""


def difference_of_classes(recorded: Sequence[str], current: Sequence[str]) -> str:
    """Return how the classes of some data differ from the recorded ones, as a clause; empty if they are equal.

    Args:
        recorded: Class names of a checkpoint in the order of its outputs; empty if it has none.
        current: Class names of the data in the order of their numbers; empty if they have none.
    """
    if not recorded or not current or list(recorded) == list(current):
        return ""
    new = [name for name in current if name not in recorded]
    missing = [name for name in recorded if name not in current]
    clauses = [f"the data have {_quote(new)}, which it does not know"] * bool(new)
    clauses += [f"the data lack its {_quote(missing)}"] * bool(missing)
    if not clauses:
        number = next(i for i, (one, other) in enumerate(zip(recorded, current, strict=False)) if one != other)
        clauses = [f"class {number} is '{recorded[number]}' there and '{current[number]}' in the data"]
    return " and ".join(clauses)


def _quote(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more
