"""Names of options and classes that a config may use, for suggestions."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from inspect import isabstract
from typing import Any

from jsonargparse import ArgumentParser

from dasc.importing import import_object

KINDS = {
    "model": "module",
    "data": "data module",
    "network": "network",
    "criterion": "pruning criterion",
    "optimizer": "optimizer",
    "logger": "logger",
    "callbacks": "callback",
    "profiler": "profiler",
    "strategy": "strategy",
    "accelerator": "accelerator",
    "plugins": "plugin",
}
"""The kind of a class by the last key of its option."""


def class_names(kind: str) -> set[str]:
    """Return the names of classes that a config may use without their module.

    Args:
        kind: A value of `KINDS`.
    """
    import lightning.pytorch as pl
    import torch

    from dasc.callbacks.refused import REFUSED
    from dasc.data import ImageData
    from dasc.modules import Classifier
    from dasc.pruning import Criterion

    if kind == "network":
        return _network_names()
    if kind == "optimizer":
        return {name for name in torch.optim.__all__ if _is_class(torch.optim, name, torch.optim.Optimizer)}
    if kind == "callback":
        return {*pl.callbacks.__all__, "WeightEMA"} - {refused.__name__ for refused in REFUSED} - {"Callback"}
    modules = {"logger": pl.loggers, "profiler": pl.profilers, "strategy": pl.strategies, "plugin": pl.plugins}
    if kind in modules:
        return set(modules[kind].__all__) - {"Logger", "Profiler", "Strategy"}
    bases: dict[str, type] = {"module": Classifier, "data module": ImageData, "pruning criterion": Criterion}
    return {one.__name__ for base in [bases[kind]] for one in (base, *subclasses(base)) if _is_public(one)}


def _network_names() -> set[str]:
    from torch import nn

    found = {one for one in subclasses(nn.Module) if one.__module__.startswith("dasc.networks") and _is_public(one)}
    return {one.__name__ for one in found} - {"BasicBlock"}


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield the classes that derive from a class, directly or not."""
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def _is_public(kind: type[Any]) -> bool:
    return kind.__module__.startswith("dasc.") and not isabstract(kind) and not kind.__name__.startswith("_")


def _is_class(module: Any, name: str, base: type) -> bool:
    found = getattr(module, name, None)
    return isinstance(found, type) and issubclass(found, base) and found is not base


def options_of(class_path: str) -> list[str]:
    """Return the names of the options of a class, in its order; none if it cannot be imported."""
    try:
        kind = import_object(class_path)
        names = ArgumentParser(exit_on_error=False).add_class_arguments(kind, fail_untyped=False)
    except (ImportError, AttributeError, ValueError, TypeError):
        return []
    return [name for name in names if name not in ("params", "num_classes", "stages", "magnitude")]


def option_names(parser: ArgumentParser) -> list[str]:
    """Return the options of a command, with those of the usual classes behind `model` and `data`."""
    names = [name for name in parser.get_defaults(skip_validation=True).keys() if name != "subcommand"]
    classes = {
        "model": "dasc.modules.DistilledClassifier",
        "model.network": "dasc.networks.CifarResNet",
        "model.optimizer": "torch.optim.SGD",
        "data": "dasc.data.ImageData",
        "init_from": "dasc.modules.InitFrom",
        "model.teacher": "dasc.modules.TeacherConfig",
        "model.selection": "dasc.modules.Selection",
    }
    for option, class_path in classes.items():
        if option.partition(".")[0] in names:
            names += [f"{option}.{name}" for name in options_of(class_path)]
    return [*names, "config", "print_config", "help"]


def class_with_option(kind: str, option: str) -> str | None:
    """Return a class of a kind, `module` or `network`, that has an option."""
    places = {"module": "dasc.modules", "network": "dasc.networks"}
    if kind not in places:
        return None
    names = sorted(class_names(kind), key=lambda name: (name != "PrunedClassifier", name))
    return next((name for name in names if option in options_of(f"{places[kind]}.{name}")), None)


def nearest(given: str, names: Iterable[str]) -> list[str]:
    """Return at most three names that are near a given one: with the same last part, or of similar spelling."""
    names = list(dict.fromkeys(names))
    if same := [name for name in names if name.rpartition(".")[2] == given.rpartition(".")[2]]:
        return same[:3]
    if near := get_close_matches(given, names, n=3, cutoff=0.75):
        return near
    last: dict[str, list[str]] = {}
    for name in names:
        last.setdefault(name.rpartition(".")[2].lower(), []).append(name)
    found = get_close_matches(given.rpartition(".")[2].lower(), last, n=3, cutoff=0.6)
    return [name for part in found for name in last[part]][:3]
