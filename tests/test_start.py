"""`dasc` answers at once where it needs no library."""

import os
import resource
import subprocess
import sys
from importlib.util import find_spec

import pytest

from dasc.cli.command import Command
from dasc.cli.registry import COMMANDS
from tests.support.command import dasc

LIBRARIES = ("torch", "lightning", "jsonargparse", "numpy", "yaml", "rich")
CHECK = "assert not [name for name in sys.modules if name.partition('.')[0] in libraries], 'a library is imported'"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--version"], 0, "dasc 0."),
        (["--help"], 0, "usage: dasc COMMAND [options]"),
        ([], 2, "usage: dasc COMMAND [options]"),
        (["studdy"], 2, "dasc: unknown command 'studdy': did you mean study? Commands are fit, validate, test, "),
        (["--verson"], 2, "dasc: unrecognized arguments: --verson: see dasc --help"),
        (["configs", "--help"], 0, "usage: dasc configs [-h] [DIR]"),
    ],
)
def test_an_answer_without_a_library_takes_less_than_a_second(words: list[str], status: int, says: str) -> None:
    program = f"""
import sys
libraries = {LIBRARIES}
from dasc.cli import main
try:
    main({words})
finally:
    {CHECK}
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == status, done.stderr
    assert (done.stdout if status == 0 else done.stderr).startswith(says)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_python_m_dasc_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "dasc", "fitt"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("dasc: unknown command 'fitt': did you mean fit or test? Commands are fit, ")


def test_a_command_ends_without_a_search_for_garbage() -> None:
    program = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); "
    program += "from dasc.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_entry_is_a_command_of_its_own_module(name: str) -> None:
    entry = COMMANDS[name]
    command = entry.load()
    assert callable(command)
    if isinstance(command, Command):
        assert (command.name, command.summary) == (name, entry.summary)
    else:
        assert find_spec(entry.target.partition(":")[0]) is not None


def test_a_config_with_the_keys_of_commands_may_be_before_the_command(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "all.yaml")
    with open(path, "w") as file:
        file.write("plan:\n  stages: [{epochs: 3}]\n  model: {class_path: PrunedClassifier, init_args: ")
        file.write("{network: {class_path: CifarResNet, init_args: {depth: 8}}}}\n  data: ImageData\n")
    done = dasc("--config", path, "plan")
    assert done.returncode == 0, done.stderr
    assert "8 layers" in done.stdout
