"""Objects by their import path."""

from importlib import import_module
from typing import Any


def import_object(path: str) -> Any:
    """Return the object with an import path, such as `my_package.MyNetwork`.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such object.
        ValueError: The path names no module.
    """
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
