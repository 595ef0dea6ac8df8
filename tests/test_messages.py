"""A user's mistake ends in one sentence, whatever the command: each case runs the real command."""

import os
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from tests.messages.case import Case
from tests.support.command import dasc

FILES = sorted(path.stem for path in (Path(__file__).parent / "messages").glob("*.py") if path.stem != "case")
CASES: dict[str, Case] = {
    f"{stem}: {name}": case for stem in FILES for name, case in import_module(f"tests.messages.{stem}").CASES.items()
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_mistake_ends_in_one_sentence(
    case: Case, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    case.prepare(tmp_path)
    before = set(os.listdir())
    result = dasc(*shlex.split(case.words.replace("{config}", str(tiny))))
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == case.status, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert len(lines) == 1, lines
    assert lines[0].startswith("dasc"), lines
    assert all(part in lines[0] for part in case.says), lines[0]
    assert set(os.listdir()) == before, "a run that did not start leaves nothing"
