"""Optimizer settings and repeatable options from config files and the command line."""

import os
import re
import sys
from argparse import HelpFormatter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml
from jsonargparse import ActionSubCommands, ArgumentError, Namespace
from jsonargparse.typing import Path_fr
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim import Optimizer

from dasc.config_file import check_config_file
from dasc.errors import UserError
from dasc.help_format import Formatter
from dasc.networks import deferred_weights
from dasc.parse_messages import Source, explain


class Parser(LightningArgumentParser):
    """Parser that discards earlier optimizer settings where a source names the optimizer's class.

    By default, jsonargparse keeps the earlier `init_args` that the new class accepts, such as the learning rate and the
    weight decay of SGD for AdamW. Other classes, such as those of the network and the data, keep that behaviour.

    jsonargparse parses the `init_args` of a class with a nested parser of the same type as the outer one. It passes a
    source as `obj` or `args`, and the result of earlier sources as `namespace`. Two kinds of nested parsers differ:

    - A module with an argument `optimizer` removes the earlier optimizer from `namespace` where the source names a
      class. A source that sets only some `init_args` changes the earlier optimizer or, without one, the default.
    - An optimizer class always sets all its `init_args`, so that merging them into earlier settings replaces all of
      those. Its `lr` has no default: `check_learning_rate` rejects a config in which it is not set. The default
      optimizer of a module must therefore set it, too.
    """

    commands: ActionSubCommands | None = None
    """The subcommands of `dasc`, for its own parser."""

    is_of_command = False
    """Whether errors become sentences. Those of nested parsers reach the outer one, which knows the whole option."""

    files: tuple[str, ...] = ()
    """The config files that were read."""

    _of_module = False
    _of_optimizer = False

    def __init__(self, *args: Any, formatter_class: type[HelpFormatter] = Formatter, **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=formatter_class, **kwargs)

    def add_class_arguments(self, class_type: type, nested_key: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Add the arguments of a class, and note whether the class is a module or an optimizer."""
        added = super().add_class_arguments(class_type, nested_key, *args, **kwargs)
        if nested_key is None and isinstance(class_type, type):
            self._of_module = issubclass(class_type, LightningModule) and "optimizer" in added
            self._of_optimizer = issubclass(class_type, Optimizer)
            if self._of_optimizer and "lr" in added:
                self.set_defaults(lr=None)
        return added

    def parse_object(
        self,
        obj: Namespace | dict[str, Any],
        namespace: Namespace | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: Any,
    ) -> Namespace:
        """Parse settings from a config file, or all `init_args` again."""
        if self._of_module and not defaults:  # with defaults, obj is the result of all sources
            namespace = self._earlier(namespace, obj.get("optimizer"))
        try:
            parsed: Namespace = super().parse_object(obj, namespace, env, defaults or self._of_optimizer, **kwargs)
        except ArgumentError as error:
            if not self.is_of_command:
                raise
            raise UserError(explain(str(error), Source(self))) from error
        return parsed

    def add_subcommands(self, *args: Any, **kwargs: Any) -> ActionSubCommands:
        """Add subcommands, and keep them for the errors."""
        self.commands = super().add_subcommands(*args, **kwargs)
        return self.commands

    def parse_path(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config file; errors name the file and the line."""
        if self.is_of_command:
            check_config_file(str(path))
            self.files = (*self.files, str(path))
        try:
            parsed: Namespace = super().parse_path(path, *args, **kwargs)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except ArgumentError as error:
            if not self.is_of_command:
                raise
            raise UserError(explain(str(error), Source(self, file=str(path)))) from error
        return parsed

    def parse_args(  # type: ignore[override]  # as in jsonargparse
        self,
        args: Sequence[str] | None = None,
        namespace: Namespace | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: Any,
    ) -> Namespace:
        """Parse command-line options; `--trust` may be repeated.

        Raises:
            UserError: The options of a command are wrong.
            ArgumentError: Those of a class are.
        """
        if self.is_of_command:
            self.files = ()
        if defaults:  # the options of the command, not those of a class
            args = [re.sub(r"^--trust(?==|$)", "--trust+", word) for word in (sys.argv[1:] if args is None else args)]
        if self._of_module and not defaults:
            for option, _, value in (argument.partition("=") for argument in args or ()):
                if option == "--optimizer":
                    namespace = self._earlier(namespace, value)
                elif option.startswith("--optimizer."):
                    namespace = self._earlier(namespace, {option.removeprefix("--optimizer."): value})
        try:
            return super().parse_args(args, namespace, env, defaults or self._of_optimizer, **kwargs)
        except ArgumentError as error:
            if not self.is_of_command:
                raise
            raise UserError(explain(str(error), Source(self, words=list(args or ())))) from error

    def instantiate_classes(self, *args: Any, **kwargs: Any) -> Namespace:
        """Make the classes of a config; networks get their pretrained weights later, where a run starts from them."""
        with deferred_weights():
            made: Namespace = super().instantiate_classes(*args, **kwargs)
        return made

    def _earlier(self, namespace: Namespace | None, given: Any) -> Namespace:
        """Return the result of earlier sources, for a source in which `given` is the value of `optimizer`."""
        earlier: Namespace = Namespace() if namespace is None else namespace.clone()  # type: ignore[no-untyped-call]
        optimizer = earlier.get("optimizer")
        # jsonargparse empties the default's init_args where a source changes the base class to a subclass
        emptied = isinstance(optimizer, Namespace) and not vars(optimizer.get("init_args", optimizer))
        if emptied or _names_class(given):
            earlier.pop("optimizer", None)
        if given is not None and not _names_class(given) and "optimizer" not in earlier:
            earlier["optimizer"] = self.get_defaults().get("optimizer")
        return earlier


def check_learning_rate(model: Namespace) -> None:
    """Check that the learning rate of the optimizer is set.

    Args:
        model: `class_path` and `init_args` of the module, with all sources merged.

    Raises:
        UserError: A source names the optimizer's class, and neither it nor a later source sets `lr`.
    """
    optimizer = model.init_args.get("optimizer")
    settings = optimizer.get("init_args") if isinstance(optimizer, Namespace) else None
    if settings is not None and "lr" in settings and settings.lr is None:
        name = optimizer.class_path.rpartition(".")[2]
        raise UserError(
            f"model.optimizer.lr is missing: optimizer {name} was named without a learning rate; "
            "add --model.optimizer.lr 0.001"
        )


def _names_class(given: Any) -> bool:
    """Return whether a value of `optimizer` names a class; other values set `init_args` only."""
    if isinstance(given, str):
        given = _load(given)
    return "class_path" in given if isinstance(given, Mapping | Namespace) else isinstance(given, str)


def _load(text: str) -> Any:
    """Return the content of a string, which is YAML or the path of a YAML file, as jsonargparse reads it."""
    with suppress(TypeError):  # not the path of a file
        text = Path_fr(text).get_content()
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
