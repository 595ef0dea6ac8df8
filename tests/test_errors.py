from collections.abc import Iterable

import pytest

from dasc.errors import UserError, unknown_name

NAMES = ["digits", "cifar10", "cifar100", "folder"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("digit", "unknown data set 'digit': did you mean digits?"),
        ("cifar1000", "unknown data set 'cifar1000': did you mean cifar100 or cifar10?"),
        ("zzz", "unknown data set 'zzz': known are cifar10, cifar100, digits, folder"),
        ("", "unknown data set '': known are cifar10, cifar100, digits, folder"),
    ],
)
@pytest.mark.parametrize("names", [NAMES, dict.fromkeys(reversed(NAMES))])
def test_an_unknown_name_is_answered_with_the_nearest_ones_or_with_all(
    given: str, sentence: str, names: Iterable[str]
) -> None:
    assert unknown_name("data set", given, names) == sentence
    assert unknown_name("data set", given, iter(names)) == sentence


def test_at_most_three_near_names_are_given() -> None:
    assert unknown_name("depth", "net", [f"net{k}" for k in range(9)]).count("net") == 1 + 3


def test_a_user_error_is_its_sentence_and_no_value_error_that_jsonargparse_would_bury() -> None:
    assert str(UserError("one sentence")) == "one sentence"
    assert not issubclass(UserError, ValueError)
