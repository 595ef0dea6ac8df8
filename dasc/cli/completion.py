"""`dasc completion`: a script that completes commands, options and choices in bash or zsh.

The script has all words in it, so that pressing Tab does not start Python.
"""

import argparse
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress

from torch import nn, optim

import dasc.networks
from dasc import __version__, pruning
from dasc.arguments import ArgumentParser
from dasc.cli import compare, configs, export, predict
from dasc.cli.command import Command
from dasc.cli.registry import COMMANDS
from dasc.data import DATASETS, ImageData
from dasc.export.formats import FORMATS
from dasc.help_format import Formatter, shown_names
from dasc.modules import Classifier, DistilledClassifier, PrunedClassifier
from dasc.parser import Parser
from dasc.study import options as study

SHELLS = ("bash", "zsh")

CLASSES: dict[str, tuple[type, ...]] = {
    "model": (Classifier, PrunedClassifier, DistilledClassifier),
    "data": (ImageData,),
    "model.network": tuple(
        kind
        for name in dasc.networks.__all__
        if isinstance(kind := getattr(dasc.networks, name), type) and issubclass(kind, nn.Module)
    ),
    "model.criterion": (pruning.L1, pruning.LAMP, pruning.Random),
    "model.optimizer": (optim.SGD, optim.Adam, optim.AdamW),
}
"""Classes whose arguments are completed, by the option that names one of them."""

WORDS = {
    "--ckpt_path": ("best", "last"),
    "--format": tuple(FORMATS),
    "--split": ("val", "test"),
    "--data.dataset": (*DATASETS, "folder"),
    "--trainer.accelerator": ("auto", "cpu", "gpu", "mps"),
    "--trainer.precision": ("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"),
}
"""Values that the type of an option does not tell."""

NOT_OPTIONS = (".stages", ".num_classes", ".params", ".params.help")
"""Ends of arguments of classes that dasc sets itself."""

_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"

_SCRIPT = """\
# Completion of dasc {version} in {shell}. To use it, add to {file}: source FILE
{before}_dasc_words() {{
  case "$1" in
{words}
  esac
}}
_dasc_choices() {{
  case "$1" in
{choices}
  esac
}}
_dasc() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" option="${{COMP_WORDS[COMP_CWORD-1]}}" found
  if [ "$word" = "=" ]; then word=""; fi
  if [ "$option" = "=" ]; then option="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  if [ "$COMP_CWORD" -eq 1 ]; then found="$(_dasc_words '')"; else found="$(_dasc_choices "$option")"; fi
  case "$word" in
    -*) found="$(_dasc_words "${{COMP_WORDS[1]}}")" ;;
  esac
  if [ "$COMP_CWORD" -eq 2 ] && [ -z "$found" ]; then found="$(_dasc_choices "${{COMP_WORDS[1]}}")"; fi
  COMPREPLY=( $(compgen -W "$found" -- "$word") )
}}
complete -o bashdefault -o default -F _dasc dasc
"""


def run(words: Sequence[str]) -> None:
    """Print the script.

    Args:
        words: The words after `dasc completion`.

    Raises:
        UserError: They name no shell.
    """
    parser = ArgumentParser(
        prog="dasc completion",
        description=COMMANDS["completion"].summary,
        epilog="Example: dasc completion bash > ~/.dasc-completion.bash; echo 'source ~/.dasc-completion.bash' >> "
        "~/.bashrc",
    )
    parser.add_argument("shell", choices=SHELLS)
    print(script(parser.parse_args(list(words)).shell), end="")


def script(shell: str) -> str:
    """Return the script that completes `dasc`.

    Args:
        shell: `bash` or `zsh`.
    """
    of_classes = _options_of_classes()
    words: dict[str, Iterable[str]] = {"": [*COMMANDS, "--help", "--version"]}
    choices: dict[str, Iterable[str]] = dict(of_classes)
    for name, entry in COMMANDS.items():
        command = entry.load_on_config()
        if isinstance(command, Command):
            found = _merge(of_classes, options(command.make_parser()))
            words[name] = [*found, *command.flags]
            choices |= found
    words["predict"] = [*words["predict"], *_printed_options(predict.make_parser(), [])]
    words["export"] = _printed_options(export.make_parser(), [])
    words["compare"] = _printed_options(compare.make_parser(), [])
    words["study"] = _printed_options(study.parser(), *([name] for name in study.COMMANDS))
    words["configs"] = _printed_options(configs.make_parser(), [])
    choices |= {"study": tuple(study.COMMANDS), "completion": SHELLS, **WORDS}
    return _SCRIPT.format(
        version=__version__,
        shell=shell,
        file=f"~/.{shell}rc",
        before=_ZSH if shell == "zsh" else "",
        words=_cases(words),
        choices=_cases(choices),
    )


def options(parser: Parser) -> dict[str, Sequence[str]]:
    """Return the options of a parser, each with its choices; () for other values."""
    found: dict[str, Sequence[str]] = {}

    class Collector(Formatter):
        def add_argument(self, action: argparse.Action) -> None:
            names = [name for name in action.option_strings if name.startswith("-") and not name.endswith(NOT_OPTIONS)]
            found.update(dict.fromkeys(names, _choices(action)))

    parser.formatter_class = Collector
    parser.format_help()
    return found | {name: found.get(name.removesuffix(".help"), ()) for name in found if name.endswith(".help")}


def _choices(action: argparse.Action) -> Sequence[str]:
    if hasattr(action, "extra_help"):
        listed: str = action.extra_help()
        if listed:
            return shown_names(listed.partition(": ")[2].split(", "))
    metavar = re.fullmatch(r"\{(.*)\}", str(action.metavar))
    return metavar[1].split(",") if metavar else tuple(map(str, action.choices or ()))


def _options_of_classes() -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    for key, kinds in CLASSES.items():
        for kind in kinds:
            parser = Parser()
            parser.add_class_arguments(kind, key)
            found = _merge(found, options(parser))
    return found


def _merge(first: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the options of both, with the choices of the second if it has some."""
    return {name: second.get(name) or first.get(name, ()) for name in (*second, *first)}


def _printed_options(parser: argparse.ArgumentParser, *commands: Sequence[str]) -> list[str]:
    """Return the options in the help of a parser of argparse."""
    text = io.StringIO()
    for words in commands:
        with redirect_stdout(text), suppress(SystemExit):
            parser.parse_args([*words, "--help"])
    return sorted(set(re.findall(r"^  (?:-\w, )?(--[\w.]+)", text.getvalue(), re.MULTILINE)))


def _cases(words: Mapping[str, Iterable[str]]) -> str:
    """Return the branches of a `case`, one for all names that have equal words."""
    names: dict[str, list[str]] = {}
    for name, values in words.items():
        text = " ".join(dict.fromkeys(value for value in values if not value.endswith(("+", "-h", "-c"))))
        if text:
            names.setdefault(text, []).append(f"'{name}'")
    return "\n".join(f"    {'|'.join(same)}) echo '{text}' ;;" for text, same in names.items())
