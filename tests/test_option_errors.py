"""Errors of jsonargparse become sentences that name the option, the rule and the value."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dasc import runs
from dasc.config import fit_parser
from dasc.config_file import line_of
from dasc.errors import UserError
from dasc.option_names import nearest, option_names
from dasc.parse_errors import find_problem, rule_of, show_value
from dasc.parser import Parser

VALUES = ("abc", "-1", "[]", "{}", "null", "1.5", "true")
NOT_SHOWN = (
    *("<class", "Namespace(", "NestedArg", "Subtypes", "Traceback", "Expected a", "Does not validate", "NoneType"),
    *("Problem with given class_path", "typing.", "Union[", "Optional[", "jsonargparse", "\n"),
)
CLASSES = ("--model=DistilledClassifier", "--model.network=CifarResNet", "--data=ImageData")


@pytest.fixture(scope="module")
def parser() -> Parser:
    return fit_parser(prog="dasc fit")


def error_of(parser: Parser, *words: str) -> str:
    """Return the sentence for words of which one is wrong; empty if only the table of stages is missing."""
    with pytest.raises(UserError) as raised:
        parser.parse_args(list(words))
    said = str(raised.value)
    return "" if said.startswith("stages is missing") else said


@pytest.mark.slow
def test_a_wrong_value_of_any_option_is_a_sentence_that_names_the_option(parser: Parser) -> None:
    options = [name for name in option_names(parser) if name not in ("print_config", "help")]
    assert {"trainer.precision", "model.optimizer.lr", "data.crop", "model.teacher.mean", "init_from"} <= set(options)
    wrong = 0
    for option in options:
        classes = CLASSES if option.startswith(("model.", "data.")) else ()
        said = {value: error_of(parser, *classes, f"--{option}={value}") for value in VALUES}
        for value, sentence in said.items():
            assert not [text for text in NOT_SHOWN if text in sentence], f"--{option}={value}: {sentence}"
            assert not sentence or option in sentence, f"--{option}={value}: {sentence}"
        wrong += any(said.values())
    assert wrong > 80, "most options do not accept all values"


@pytest.mark.parametrize(
    ("types", "rule"),
    [
        (["<class 'int'>"], "an integer"),
        (["<class 'int'>", "<class 'float'>", "<class 'NoneType'>"], "a number or null"),
        (["<class 'bool'>", "typing.Literal['warn']", "<class 'NoneType'>"], "one of true, false, warn, null"),
        (["<class 'float'>", "<class 'torch.Tensor'>"], "a number"),
        (["list[str]", "<class 'NoneType'>"], "a list of strings or null"),
        (["<class 'a.b.Logger'>", "collections.abc.Iterable[a.Logger]"], "a Logger class or a list of Logger classes"),
        (["typing.Literal['a, b', 'c']"], "a, b or c"),
    ],
)
def test_types_become_a_rule(types: Sequence[str], rule: str) -> None:
    assert rule_of(types) == rule


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc", "'abc'"),
        ("3", "3"),
        ("True", "true"),
        ("None", "null"),
        ("", "''"),
        ("[1, 2]", "[1, 2]"),
        ("a: [", "'a: ['"),
    ],
)
def test_values_are_shown_as_a_config_has_them(text: str, shown: str) -> None:
    assert show_value(text) == shown


def test_a_message_of_an_unknown_form_is_kept() -> None:
    problem = find_problem("Parser key \"data\":\n  Problem with given class_path 'a.B':\n    Something new")
    assert (problem.option, problem.kind, problem.text, problem.value) == ("data", "import", "Something new", "a.B")
    assert find_problem("Something\n  new").text == "Something new"


def test_near_options_have_the_same_last_part_or_a_similar_name() -> None:
    names = ["data.batch_size", "data.eval_batch_size", "model.optimizer.lr", "trainer.precision"]
    assert nearest("batch_size", names) == ["data.batch_size"]
    assert nearest("data.batchsize", names) == ["data.batch_size", "data.eval_batch_size"]
    assert nearest("trainer.precison", names) == ["trainer.precision"]
    assert nearest("zzz", names) == []


def test_the_line_of_an_option_is_found_with_and_without_init_args(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "data:\n  class_path: X\n  init_args:\n    size: 3\ntrainer:\n  callbacks:\n  - init_args:\n      a: 1\n"
    )
    assert line_of(path, ("data", "size")) == 4
    assert line_of(path, ("trainer", "callbacks", "a")) == 8
    assert line_of(path, ("trainer", "precision")) is None


def test_a_folder_stands_for_a_checkpoint_in_it(tmp_path: Path) -> None:
    run = tmp_path / "lightning_logs" / "version_3"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        (run / "checkpoints" / f"{name}.ckpt").touch()
    for folder in (run / "checkpoints", run, run.parent, tmp_path):
        assert runs.checkpoint_in(folder, "last") == run / "checkpoints" / "last.ckpt"
        assert runs.checkpoint_in(folder) == run / "checkpoints" / "best.ckpt"
    assert runs.checkpoint_in(tmp_path / "a.ckpt", "last") == tmp_path / "a.ckpt"
