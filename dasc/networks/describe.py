"""A network as plain data, and back: what a checkpoint keeps to rebuild it.

The convention is scikit-learn's: a network stores each argument of its constructor in an attribute of the same name.
"""

import inspect
from typing import Any

from torch import nn

from dasc.errors import UserError
from dasc.importing import import_object


def describe_network(network: nn.Module) -> dict[str, Any]:
    """Return `{class_path, init_args}` of a network.

    Raises:
        UserError: The network does not keep an argument of its constructor.
    """
    kind = type(network)
    init_args = {}
    for name in inspect.signature(kind).parameters:
        if not hasattr(network, name):
            raise UserError(
                f"{kind.__name__} does not keep its argument '{name}': add `self.{name} = {name}` to its constructor, "
                "so that a checkpoint can rebuild the network"
            )
        init_args[name] = getattr(network, name)
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": init_args}


def build_network(description: dict[str, Any]) -> nn.Module:
    """Build a network from `{class_path, init_args}`, without pretrained weights (its `weights` becomes None).

    Raises:
        UserError: The class cannot be imported or is no network.
    """
    try:
        kind = import_object(description["class_path"])
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"the network {description['class_path']} cannot be imported ({error}): install the package it is in"
        ) from None
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UserError(f"{description['class_path']} is no torch.nn.Module: the file names another kind of object")
    init_args = dict(description["init_args"])
    if "weights" in init_args:
        init_args["weights"] = None
    network: nn.Module = kind(**init_args)
    return network
