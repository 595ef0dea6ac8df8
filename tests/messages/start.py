"""Mistakes in the command itself."""

from pathlib import Path

from tests.messages.case import Case


def _config(folder: Path) -> None:
    (folder / "configs").mkdir()
    (folder / "configs" / "teacher.yaml").write_text("mine")


def _file(folder: Path) -> None:
    (folder / "taken").write_text("mine")


CASES = {
    "an unknown command": Case("studdy", ("dasc: unknown command 'studdy': did you mean study?",)),
    "a command far from all": Case("xyz", ("dasc: unknown command 'xyz': known are", "fit", "validate")),
    "an unknown option before the command": Case(
        "--foo fit", ("dasc: unrecognized arguments: --foo", "see dasc --help")
    ),
    "configs into a folder with one of them": Case(
        "configs", ("dasc configs: DIR must be", "got configs with configs/teacher.yaml: name another"), _config
    ),
    "configs into a file": Case("configs taken", ("dasc configs: DIR must be a folder", "got taken"), _file),
    "completion without a shell": Case("completion", ("dasc completion: ", "shell", "see dasc completion --help")),
    "completion in an unknown shell": Case(
        "completion fish", ("dasc completion: ", "shell must be one of bash, zsh, got 'fish'")
    ),
}
