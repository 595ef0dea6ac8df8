"""The message of a user's mistake."""

from collections.abc import Callable, Sequence

import pytest

from dasc.cli import main
from dasc.errors import UserError


def exit_message(args: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail with exit status 2, and return its only line on stderr that starts with `dasc`."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dasc")]
    assert len(lines) == 1, lines
    return lines[0]


def user_error(call: Callable[..., object], *args: object, **settings: object) -> str:
    """Call a function that must raise a UserError, and return its message."""
    with pytest.raises(UserError) as raised:
        call(*args, **settings)
    return str(raised.value)
