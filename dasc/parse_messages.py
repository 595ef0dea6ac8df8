"""One sentence for each error of parsing a command line or a config file."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jsonargparse import ArgumentParser

from dasc.config_file import line_of
from dasc.errors import unknown_name
from dasc.option_names import KINDS, class_names, class_with_option, hint, option_names, options_of
from dasc.parse_errors import Problem, find_problem, rule_of, show_value


@dataclass(frozen=True)
class Source:
    """Where the options that are parsed come from.

    Args:
        parser: The parser of the command.
        words: The words of the command line.
        file: The config file that is read; None for the command line.
    """

    parser: ArgumentParser
    words: Sequence[str] = ()
    file: str | None = None

    @property
    def dashes(self) -> str:
        """What an option is written with."""
        return "--" if self.file is None else ""

    def write(self, *settings: tuple[str, str]) -> str:
        """Return settings as they are written in this source."""
        if self.file is None:
            return " ".join(f"--{option} {value}" for option, value in settings)
        return " and ".join(f"{option}: {value}" for option, value in settings)


def explain(text: str, source: Source) -> str:
    """Return the sentence for an error of jsonargparse.

    Args:
        text: Its message.
        source: What was parsed.
    """
    if command := re.match(r"argument (?:subcommand|COMMAND).*?invalid choice: '?([^' ]+)|.*\bbut got \"?(\w[\w-]*)", text):
        return unknown_command(next(filter(None, command.groups())), source.parser)
    problem = find_problem(text)
    commands = commands_of(source.parser)
    if problem.keys[:1] and problem.keys[0] in commands:
        parser = commands[problem.keys[0]]
        shorter = tuple((count - 1, name) for count, name in problem.classes)
        source, problem = replace(source, parser=parser), replace(problem, keys=problem.keys[1:], classes=shorter)
    said = _DESCRIBE[problem.kind](problem, source)
    return said if source.file is None else f"{_place(problem, source.file)}: {said}"


def commands_of(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """Return the parsers of the subcommands of a parser by name."""
    return dict(getattr(getattr(parser, "commands", None), "choices", None) or {})


def unknown_command(given: str, parser: ArgumentParser) -> str:
    """Return the sentence for a word that is no command of `dasc`."""
    return unknown_name("command", given, [*commands_of(parser), "study"])


def _place(problem: Problem, file: str) -> str:
    keys = [*problem.keys, *problem.text.split(".")] if problem.kind == "option" else problem.keys
    line = line_of(file, keys) if keys else None
    return f"{file}, line {line}" if line is not None else file


def _name(problem: Problem) -> str:
    """Return the option, with its class where a config chooses it from a list of them."""
    owner = problem.owner.rpartition(".")[2]
    return f"{problem.option} ({owner})" if owner and problem.keys[0] == "trainer" else problem.option


def _type(problem: Problem, source: Source) -> str:
    from dasc.trainer_rules import RULES

    rule = rule_of(problem.types)
    if problem.keys == ("trainer", "precision"):
        rule = RULES["precision"].rule
    if nested := re.match(r"NestedArg\(key='([^']*)'", problem.value):
        return _option(replace(problem, kind="option", text=nested[1]), source)
    value = problem.value
    remedy = _remedy(problem, source)
    return f"{_name(problem)} must be {rule}, got {show_value(value)}{remedy}"


def _remedy(problem: Problem, source: Source) -> str:
    option, value = problem.option, problem.value or problem.text
    files = {"init_from": "path", "model.teacher": "path", "model.selection": "views"}
    if option in files and not value.startswith(("{", "[")):
        return f": write {source.write((f'{option}.{files[option]}', value))}"
    return ""


def _option(problem: Problem, source: Source) -> str:
    """Describe an option that the command or a class does not have."""
    option = ".".join(filter(None, (problem.option, problem.text)))
    if not problem.owner:
        found = hint(option, option_names(source.parser), source.dashes)
        command = source.parser.prog.replace(" [options]", "")
        return f"unknown option '{source.dashes}{option}': {found or f'{command} --help lists the options'}"
    known = options_of(problem.owner)
    owner = problem.owner.rpartition(".")[2]
    if problem.text in ("class_path", "init_args", "init_arg"):
        return f"{problem.option} must have the keys class_path and init_args, and no others"
    kind = KINDS.get(problem.keys[-1], "")
    other = class_with_option(kind, problem.text.partition(".")[0])
    if other is not None and problem.text not in known:
        write = source.write((problem.option, other))
        return f"{source.dashes}{option} is an option of {other}, and {problem.option} is {owner}: write {write}"
    names = [f"{problem.option}.{name}" for name in known]
    found = hint(option, names, source.dashes) or f"known are {', '.join(known)}"
    return f"unknown option '{source.dashes}{option}' of {owner}: {found}"


def _class(problem: Problem, source: Source) -> str:
    """Describe a name that is not one of a known class."""
    given = problem.text or problem.value
    if remedy := _remedy(problem, source):
        return f"{problem.option} must be settings, got {show_value(given)}{remedy}"
    kind = KINDS.get(problem.keys[-1] if problem.keys else "", "")
    if kind == "network" and given in _torchvision_names():
        write = source.write((problem.option, "TorchvisionNetwork"), (f"{problem.option}.name", given))
        return f"{problem.option} must be a network class, got '{given}', which is one of torchvision: write {write}"
    if not kind:
        return f"{_name(problem)} must be {rule_of(problem.types) or 'a class'}, got {show_value(given)}"
    if problem.kind == "class" and not re.fullmatch(r"[A-Za-z_][\w.]*", given):
        article = "an" if kind[0] in "aeiou" else "a"
        return f"{_name(problem)} must be the class of {article} {kind}, got {show_value(given)}"
    said = unknown_name("class", given, class_names(kind))
    return f"{said} ({problem.option} must be {_article(kind)})"


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _torchvision_names() -> list[str]:
    from torchvision import models

    return models.list_models(module=models)


def _import(problem: Problem, source: Source) -> str:
    """Describe a class that cannot be imported, or that is none of the kind."""
    if remedy := _remedy(problem, source):
        return f"{problem.option} must be settings, got {show_value(problem.value)}{remedy}"
    kind = KINDS.get(problem.keys[-1], "") if problem.keys else ""
    wanted = f"the class of {_article(kind)}" if kind else rule_of(problem.types) or "a class"
    if re.fullmatch(r"Import path .*|Expected '.*", problem.text):
        return f"{problem.option} must be {wanted}, got {show_value(problem.value)}"
    if missing := re.fullmatch(r"module '(.+)' has no attribute '(.+)'", problem.text):
        return f"{problem.option} must be {wanted}, but the module {missing[1]} has no {missing[2]}"
    reason = f", which cannot be imported: {problem.text[:1].lower()}{problem.text[1:]}" if problem.text else ""
    return f"{problem.option} must be {wanted}, got {show_value(problem.value)}{reason}"


def _missing(problem: Problem, source: Source) -> str:
    option = ".".join(filter(None, (problem.option, problem.text)))
    owner = problem.owner.rpartition(".")[2]
    return f"{option} is missing{f': {owner} needs it' if owner else ''}, write {source.write((option, 'VALUE'))}"


def _mapping(problem: Problem, source: Source) -> str:
    return f"{problem.option} must be a mapping of options to values, got another value"


def _other(problem: Problem, source: Source) -> str:
    text = problem.text
    if word := re.fullmatch(r"unrecognized arguments: (\S+).*", text):
        return _stray(word[1])
    if option := re.fullmatch(r"argument (?:-\w/)?--(\S+): expected one argument", text):
        name = _without_value(option[1], source.words)
        return f"--{name} has no value: write --{name} VALUE"
    if config := re.fullmatch(r"(?:File does not exist|Path is not a file|.*is not readable).*: '(.*)'", text):
        path = os.path.relpath(config[1])
        if Path(path).is_dir():
            return f"--{problem.option} must be a file, got the folder {path}"
        exists = "cannot be read: check its permissions" if Path(path).exists() else "does not exist: check the path"
        return f"the {problem.option} file {path} {exists}"
    if loaded := re.match(r"Unable to load config '(.*?)'", text):
        return (
            f"{problem.option} must be a mapping such as '{{devices: 1}}' in quotes, or a config file, "
            f"got {show_value(loaded[1])}"
        )
    if several := re.match(r"Multiple subclasses with name (\w+)\. .*?: ([\w., ]+)\.", text):
        return f"{problem.option} must name a class with its module, got '{several[1]}': {_first(several[2])}"
    if problem.kind == "other" and problem.value and problem.option:
        return _import(replace(problem, kind="import"), source)
    return f"{problem.option} cannot be used: {text}" if problem.option and problem.option not in text else text


def _first(names: str) -> str:
    return f"did you mean {' or '.join(names.split(', ')[:3])}?"


def _without_value(option: str, words: Sequence[str]) -> str:
    """Return the option at which a value is missing; argparse names only its first part."""
    ends = [*words[1:], "--"]
    for word, following in zip(words, ends, strict=True):
        name = word.removeprefix("--")
        if word.startswith("--") and "=" not in word and following.startswith("-"):
            if name == option or name.startswith(f"{option}."):
                return name
    return option


def _stray(word: str) -> str:
    if word.endswith((".yaml", ".yml", ".json")):
        return f"'{word}' belongs to no option: write --config {word}"
    if word.endswith(".ckpt"):
        return f"'{word}' belongs to no option: write --ckpt_path {word}"
    return f"'{word}' belongs to no option: options are written --KEY VALUE, values with spaces in quotes"


_DESCRIBE = {
    "type": _type,
    "option": _option,
    "class": _class,
    "import": _import,
    "missing": _missing,
    "mapping": _mapping,
    "other": _other,
}
