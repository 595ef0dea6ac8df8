"""One sentence for each error of parsing a command line or a config file."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jsonargparse import ArgumentParser

from dasc.config_file import line_of
from dasc.errors import unknown_name
from dasc.option_names import KINDS, class_names, class_with_option, nearest, option_names, options_of
from dasc.parse_errors import Problem, find_problem, rule_of, show_value


@dataclass(frozen=True)
class Source:
    """Where the options that are parsed come from.

    Args:
        parser: The parser of the command.
        words: The words of the command line.
        file: The config file that is read; None for the command line, or after all files were read.
    """

    parser: ArgumentParser
    words: Sequence[str] = ()
    file: str | None = None

    @property
    def dashes(self) -> str:
        """What an option is written with."""
        return "--" if self.file is None else ""

    def write(self, option: str, value: str) -> str:
        """Return an option with a value as this source has it."""
        if self.file is None:
            return f"--{option} {value}"
        outer, _, last = option.rpartition(".")
        return f"{outer}: {{{last}: {value}}}" if outer else f"{last}: {value}"


def explain(text: str, source: Source) -> str:
    """Return the sentence for an error of jsonargparse.

    Args:
        text: Its message.
        source: What was parsed.
    """
    if re.match(r"expected \"subcommand\" to be one of|argument subcommand: invalid choice", text):
        return _command(text, source)
    problem = find_problem(text)
    source, problem = _of_command(source, problem)
    if problem.kind == "option" and source.file is None:
        source = replace(source, file=_file_with(problem, source))
    said = _DESCRIBE[problem.kind](problem, source)
    return said if source.file is None else f"{_place(problem, source.file)}: {said}"


def commands_of(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """Return the parsers of the subcommands of a parser by name."""
    return dict(getattr(getattr(parser, "commands", None), "choices", None) or {})


def _of_command(source: Source, problem: Problem) -> tuple[Source, Problem]:
    """Return the parser and the problem without the command in front of the keys."""
    commands = commands_of(source.parser)
    first = problem.keys[0] if problem.keys else problem.text.partition(".")[0]
    if first not in commands:
        return source, problem
    source = replace(source, parser=commands[first])
    if not problem.keys:
        return source, replace(problem, text=problem.text.partition(".")[2])
    shorter = tuple((count - 1, name) for count, name in problem.classes)
    return source, replace(problem, keys=problem.keys[1:], classes=shorter)


def _command(text: str, source: Source) -> str:
    """Describe a missing or unknown command."""
    names = [*commands_of(source.parser), "study"]
    if given := re.search(r"invalid choice: '?([^' ]*)", text):
        if source.words and source.words[0].startswith("--") and source.words[0] != "--config":
            return _option(Problem((), "option", source.words[0][2:].partition("=")[0]), source)
        said = unknown_name("command", given[1], names)
        return f"{said} Commands are {', '.join(names)}" if said.endswith("?") else said
    return f"the command is missing: write dasc fit, or another of {', '.join(names)}"


def _place(problem: Problem, file: str) -> str:
    line = line_of(file, _keys(problem)) if _keys(problem) else None
    return f"{file}, line {line}" if line is not None else file


def _keys(problem: Problem) -> list[str]:
    return [*problem.keys, *(problem.text.split(".") if problem.kind == "option" else ())]


def _file_with(problem: Problem, source: Source) -> str | None:
    """Return the last config file with an option that is on the command line in no form."""
    option = ".".join(_keys(problem))
    if any(word.startswith(f"--{option}") for word in source.words):
        return None
    files: Sequence[str] = getattr(source.parser, "files", ())
    return next((file for file in reversed(files) if line_of(file, _keys(problem)) is not None), None)


def _name(problem: Problem) -> str:
    """Return the option, with its class where a config chooses it from a list of them."""
    owner = problem.owner.rpartition(".")[2]
    return f"{problem.option} ({owner})" if owner and problem.keys[0] == "trainer" else problem.option


def _type(problem: Problem, source: Source) -> str:
    from dasc.trainer_rules import RULES

    rule = rule_of(problem.types)
    if problem.keys == ("trainer", "precision"):
        rule = RULES["precision"].rule
    kind = KINDS.get(problem.keys[-1], "") if problem.keys else ""
    if nested := re.match(r"NestedArg\(key='([^']*)'", problem.value):
        return (
            f"{problem.option}.{nested[1]} is an option of a class, and {problem.option} names none: "
            f"write {source.write(problem.option, 'CLASS')} before it"
        )
    if remedy := _remedy(problem, source):
        return f"{_name(problem)} must be settings, got {show_value(problem.value)}{remedy}"
    if kind:
        rule = re.sub(r"an? \w+ class\b", f"the class of {_article(kind)}", rule)
    shown = show_value(problem.value)
    if shown == "null" and rule.endswith("null"):  # jsonargparse reads it as text within nested classes
        return f"{_name(problem)} must not be null on the command line, got null: write it into a config file"
    return f"{_name(problem)} must be {rule}, got {shown}"


def _remedy(problem: Problem, source: Source) -> str:
    """Return how one setting is written, where a value is given for the settings as a whole."""
    option, value = problem.option, problem.value or problem.text
    settings = {"init_from": "path", "model.teacher": "path", "model.selection": "views"}
    if option not in settings or problem.kind == "option" or value[:1] in ("{", "[", ""):
        return ""
    return f": write {source.write(f'{option}.{settings[option]}', value)}"


def _option(problem: Problem, source: Source) -> str:
    """Describe an option that the command or a class does not have."""
    option = ".".join(filter(None, (problem.option, problem.text)))
    if not problem.owner:
        near = nearest(option, option_names(source.parser))
        command = source.parser.prog.replace(" [options]", "")
        found = _guess(near, source.dashes) if near else f"{command} --help lists the options"
        return f"unknown option '{source.dashes}{option}': {found}"
    known = options_of(problem.owner)
    owner = problem.owner.rpartition(".")[2]
    if problem.text in ("class_path", "init_args", "init_arg"):
        return f"{problem.option} must have the keys class_path and init_args, and no others"
    kind = KINDS.get(problem.keys[-1], "")
    other = class_with_option(kind, problem.text.partition(".")[0])
    if other is not None and problem.text not in known:
        write = source.write(problem.option, other)
        return f"{source.dashes}{option} is an option of {other}, and {problem.option} is {owner}: write {write}"
    near = nearest(option, [f"{problem.option}.{name}" for name in known])
    found = _guess(near, source.dashes) if near else f"known are {', '.join(known)}"
    return f"unknown option '{source.dashes}{option}' of {owner}: {found}"


def _guess(names: Sequence[str], dashes: str = "") -> str:
    return f"did you mean {' or '.join(dashes + name for name in names)}?"


def _class(problem: Problem, source: Source) -> str:
    """Describe a name that is not one of a known class."""
    given = problem.text or problem.value
    if remedy := _remedy(problem, source):
        return f"{problem.option} must be settings, got {show_value(given)}{remedy}"
    kind = KINDS.get(problem.keys[-1] if problem.keys else "", "")
    if kind == "network" and given in _torchvision_names():
        write = f"--{problem.option} TorchvisionNetwork --{problem.option}.name {given}"
        if source.file is not None:
            write = f"network: {{class_path: TorchvisionNetwork, init_args: {{name: {given}}}}}"
        return f"{problem.option} must be a network class, got '{given}', which is one of torchvision: write {write}"
    if not kind:
        return f"{_name(problem)} must be {rule_of(problem.types) or 'a class'}, got {show_value(given)}"
    if not re.fullmatch(r"[A-Za-z_][\w.]*", given):
        return f"{_name(problem)} must be the class of {_article(kind)}, got {show_value(given)}"
    return unknown_name("class", given, class_names(kind), of=problem.option)


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _torchvision_names() -> list[str]:
    from torchvision import models

    return list(models.list_models(module=models))


def _import(problem: Problem, source: Source) -> str:
    """Describe a class that cannot be imported, or that is none of the kind."""
    if remedy := _remedy(problem, source):
        return f"{problem.option} must be settings, got {show_value(problem.value)}{remedy}"
    kind = KINDS.get(problem.keys[-1], "") if problem.keys else ""
    wanted = f"the class of {_article(kind)}" if kind else rule_of(problem.types) or "a class"
    if re.fullmatch(r"Import path .*|Expected '.*", problem.text):
        return f"{problem.option} must be {wanted}, got {show_value(problem.value)}"
    if missing := re.fullmatch(r"module '(.+)' has no attribute '(.+)'", problem.text):
        near = nearest(missing[2], class_names(kind) if kind else [])
        guess = f": {_guess(near)}" if near else ""
        return f"{problem.option} must be {wanted}, but the module {missing[1]} has no {missing[2]}{guess}"
    reason = f", which cannot be imported: {problem.text[:1].lower()}{problem.text[1:]}" if problem.text else ""
    return f"{problem.option} must be {wanted}, got {show_value(problem.value)}{reason}"


def _missing(problem: Problem, source: Source) -> str:
    option = ".".join(filter(None, (problem.option, problem.text)))
    owner = problem.owner.rpartition(".")[2]
    return f"{option} is missing{f': {owner} needs it' if owner else ''}, write {source.write(option, 'VALUE')}"


def _mapping(problem: Problem, source: Source) -> str:
    return f"{problem.option} must be a mapping of options to values, got another value"


def _other(problem: Problem, source: Source) -> str:
    text = problem.text
    if word := re.fullmatch(r"unrecognized arguments: (\S+).*", text):
        return _stray(word[1])
    if option := re.fullmatch(r"argument (?:-\w/)?--(\S+): expected one argument", text):
        name = _without_value(option[1], source.words)
        return f"--{name} has no value: write --{name} VALUE"
    if config := re.fullmatch(r"Unexpected config:\s*(.*)", text, re.DOTALL):
        return f"--config must be a file, got {show_value(config[1])}" if config[1] else "--config has no value"
    if given := re.fullmatch(r"--(\S+)\.help: Expected a dot import path string: (.*)", text):
        return _class(Problem(tuple(given[1].split(".")), "class", given[2]), source)
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
        near = _guess(several[2].split(", ")[:3])
        return f"{problem.option} must name a class with its module, got '{several[1]}': {near}"
    if problem.kind == "other" and problem.value and problem.option:
        return _import(replace(problem, kind="import"), source)
    return f"{problem.option} cannot be used: {text}" if problem.option and problem.option not in text else text


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
