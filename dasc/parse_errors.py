"""Errors of jsonargparse as problems: which option, what is wrong with it, and the value that was given."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from dasc.errors import one_line

Kind = Literal["type", "option", "class", "import", "missing", "mapping", "other"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with one option.

    Args:
        keys: The keys of the option, such as `("model", "optimizer", "lr")`, without `init_args`.
        kind: `type`: the value has another type; `option`: the class or the command has no such option; `class`: no
            known class has that name; `import`: the class cannot be imported or is of another kind; `missing`: a
            required option; `mapping`: the value must be a mapping; `other`: `text` says it.
        text: The name of the option or class, the reason of a failed import, or the message.
        value: The given value as text.
        types: The types that are allowed, as Python writes them.
        classes: The classes whose options the keys are, by the number of keys in front of them.
    """

    keys: tuple[str, ...]
    kind: Kind
    text: str = ""
    value: str = ""
    types: tuple[str, ...] = ()
    classes: tuple[tuple[int, str], ...] = ()

    @property
    def option(self) -> str:
        """The keys with dots."""
        return ".".join(self.keys)

    @property
    def owner(self) -> str:
        """The import path of the class whose option the last key is; empty for an option of the command."""
        length = len(self.keys) if self.kind in ("option", "missing") else len(self.keys) - 1
        owners = [name for count, name in self.classes if count == length]
        return owners[-1] if owners else ""


def find_problem(text: str, keys: tuple[str, ...] = ()) -> Problem:
    """Return the problem that a message of jsonargparse reports.

    Args:
        text: The message, which nests the messages of classes by indentation.
        keys: The keys in front of those that the message names.
    """
    text = _dedent(text)
    if found := re.match(r'(?:Configuration check failed :: )?Parser key "([^"]+)":?\s', text):
        return find_problem(text[found.end() :], _extend(keys, found[1]))
    if found := re.match(r"- Expected a path but .*? either not accessible or invalid\n- ", text, re.DOTALL):
        return find_problem(text[found.end() :], keys)
    if text.startswith("Does not validate against any of the Union subtypes\n"):
        return _union(text, keys)
    if found := re.match(r"Problem with given class_path '([^']*)':\n", text):
        return _of_class(found[1], text[found.end() :], keys)
    if found := re.match(r"Type .*? expects a function or a callable class: ", text, re.DOTALL):
        inner, _, value = text[found.end() :].rpartition(". Got value: ")
        problem = find_problem(inner, keys)
        class_path = re.match(r"Namespace\(class_path='([^']*)'", value)
        if class_path:
            return replace(problem, classes=((len(keys), class_path[1]), *problem.classes))
        return replace(problem, value=problem.value or value)
    return _leaf(text, keys)


def _leaf(text: str, keys: tuple[str, ...]) -> Problem:
    """Return the problem of a message without a nested one."""
    patterns: tuple[tuple[str, Kind], ...] = (
        (r"Expected a dot import path string: (?P<text>.*)", "class"),
        (r"(?:Group|Subcommand) '(?P<group>.+)' does not accept option '(?P<text>.+)'", "option"),
        (r"Option '(?P<text>.+?)' is not accepted.*", "option"),
        (r"unrecognized arguments: --(?P<text>[^\s=]+).*", "option"),
        (r"(?:the following arguments are required|Key \"?(?P<text>\S+?)\"? is required).*", "missing"),
        (r"Expected a string with a .*", "other"),
        (r"Unexpected import path format: (?P<value>.*)", "import"),
        (r"Expected an import path or a subclass spec, but got (?P<value>.*)", "import"),
        (r"Expected (?:an? )?(?P<type>.+?)(?:\. Got value: (?P<value>.*))?", "type"),
        (r"Not a valid subclass of (?P<type>\w+)(?:\. Got value: (?P<value>[^\n]*))?\n.*", "type"),
        (r"'\w+' object has no attribute 'keys'", "mapping"),
    )
    for pattern, kind in patterns:
        if found := re.fullmatch(pattern, text, re.DOTALL):
            parts = found.groupdict()
            if kind == "missing" and not parts["text"]:
                parts["text"] = text.partition(": ")[2].partition(",")[0]
            of_group = _extend(keys, parts["group"]) if parts.get("group") else keys
            types = (parts["type"],) if parts.get("type") else ()
            return Problem(of_group, kind, parts.get("text") or "", parts.get("value") or "", types)
    return Problem(keys, "other", one_line(text))


def _of_class(class_path: str, inner: str, keys: tuple[str, ...]) -> Problem:
    """Return the problem of the options of a class, or of the class itself."""
    problem = find_problem(inner, keys)
    if problem.kind == "other" and problem.keys == keys:
        return replace(problem, kind="import", value=class_path)
    return replace(problem, classes=((len(keys), class_path), *problem.classes))


def _union(text: str, keys: tuple[str, ...]) -> Problem:
    """Return the problem of a value that has none of several types; that of a class's own option goes first."""
    found = re.match(r".*?\nSubtypes: \[(.*?)\]\nErrors:\n(.*)", text, re.DOTALL)
    if found is None:
        return Problem(keys, "other", one_line(text))
    types = tuple(_split(found[1]))
    body, _, value = found[2].rpartition("\nGiven value: ")
    body = body.rpartition("\nGiven value type: ")[0]
    errors = re.split(r"^  - ", body, flags=re.MULTILINE)[1:]
    problems = [find_problem(error.replace("\n    ", "\n"), keys) for error in errors]
    inner = [problem for problem in problems if problem.classes or len(problem.keys) > len(keys)]
    if inner:
        return inner[0]
    if not any("torch.Tensor" in name for name in types):  # text for a number or a tensor names no class
        for kind in ("import", "class", "mapping", "other"):
            for problem in problems:
                if problem.kind == kind:
                    return replace(problem, types=types)
    return Problem(keys, "type", "", value, types)


def _extend(keys: tuple[str, ...], key: str) -> tuple[str, ...]:
    return (*keys, *(part for part in key.split(".") if part != "init_args"))


def _dedent(text: str) -> str:
    """Remove the indentation of the first line from all lines that have it."""
    text = text.strip("\n")
    space = text[: len(text) - len(text.lstrip(" "))]
    return text[len(space) :].replace(f"\n{space}", "\n") if space else text


def _split(types: str) -> list[str]:
    """Split a list of types at the commas outside brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for character in types:
        quoted ^= character == "'"
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "NoneType": "null",
    "list": "a list",
    "dict": "a mapping",
    "timedelta": "a duration",
    "Path": "a path",
    "Iterable": "a list",
    "Any": "a value",
}
_NOT_SHOWN = ("bool", "NoneType", "Tensor")
_PLURALS = {"int": "integers", "float": "numbers", "str": "strings"}


def rule_of(types: Sequence[str]) -> str:
    """Return the rest of `OPTION must be ...` for types as Python writes them."""
    names = [_strip(name) for name in types]
    choices = [choice for name in names if name.startswith("Literal[") for choice in _choices(name)]
    words = [_word(name) for name in names if not name.startswith("Literal[") and name not in _NOT_SHOWN]
    if "float" in names:
        words.remove(_WORDS["int"]) if "int" in names else None
    choices = (["true", "false"] if "bool" in names else []) + choices
    nothing = ["null"] if "NoneType" in names and not any(word.endswith(" class") for word in words) else []
    words = list(dict.fromkeys([*words, *choices, *nothing]))
    return f"one of {', '.join(words)}" if len(words) > 3 and len(choices) >= 3 else _join(words)


def _join(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _strip(name: str) -> str:
    """Return a type without `<class ...>` and without modules."""
    return _without_modules(re.sub(r"<class '([^']*)'>", r"\1", name))


def _without_modules(name: str) -> str:
    head, bracket, rest = name.partition("[")
    return head.rpartition(".")[2] + bracket + rest


def _choices(literal: str) -> list[str]:
    return [choice.strip("'\"") for choice in _split(literal[len("Literal[") : -1])]


def _word(name: str) -> str:
    head, _, rest = name.partition("[")
    if head in ("list", "Iterable", "Sequence") and rest:
        of = _without_modules(rest[:-1])
        return f"a list of {_PLURALS.get(of, of + ' classes' if of.isidentifier() else 'classes')}"
    if head == "Union":
        return _join([_word(_strip(part)) for part in _split(rest[:-1])])
    if head in _WORDS:
        return _WORDS[head]
    return f"{'an' if head[:1] in 'AEIOU' else 'a'} {head} class"


def show_value(text: str) -> str:
    """Return a given value as a config file has it: text in quotes, and true, false and null in small letters."""
    text = one_line(text)
    words = {"True": "true", "False": "false", "None": "null"}
    if text in words:
        return words[text]
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    try:
        loaded: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        loaded = text
    if text and not isinstance(loaded, str) and "Namespace(" not in text:
        return shown
    if "Namespace(" in text:
        found = re.search(r"class_path='([^']*)'", text)
        return found[1].rpartition(".")[2] if found else "other settings"
    return f"'{shown}'"
