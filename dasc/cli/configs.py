"""`dasc configs`: copy the configs that come with dasc."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from dasc.arguments import ArgumentParser
from dasc.cli.registry import COMMANDS
from dasc.errors import UserError

FIRST = "prune_decay.yaml"
"""The config of the first command to run."""

_PACKAGE = Path(__file__).parents[1]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of what follows `dasc configs`."""
    parser = ArgumentParser(prog="dasc configs", description=COMMANDS["configs"].summary)
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", default="configs", help="the folder, which is made if needed (configs)"
    )
    return parser


def run(words: Sequence[str]) -> None:
    """Copy the configs, and print the first command to run.

    Args:
        words: The words after `dasc configs`.

    Raises:
        UserError: The folder has a file that would be overwritten, or cannot be written; nothing is copied.
    """
    folder = Path(make_parser().parse_args(list(words)).folder).expanduser()
    files = copy_configs(folder)
    print(f"Copied {len(files)} configs to {folder}/")
    print(f"Train on the digits that come with scikit-learn: dasc fit --config {shlex.quote(str(folder / FIRST))}")


def copy_configs(folder: Path) -> list[Path]:
    """Copy the configs that come with dasc into a folder, and return the new files.

    Args:
        folder: Is made if needed. Files in it are kept.

    Raises:
        UserError: It has a file of the same name as a config, or cannot be written.
    """
    source = configs_folder()
    copies = {path: folder / path.relative_to(source) for path in sorted(source.rglob("*.yaml"))}
    try:
        for copy in copies.values():
            if copy.exists():
                raise UserError(f"DIR must be a folder without configs of dasc, got {folder} with {copy}: name another")
        for path, copy in copies.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("xb") as file:
                file.write(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"DIR must be a folder that can be written, got {folder} ({error.strerror}): name another"
        ) from error
    return list(copies.values())


def configs_folder() -> Path:
    """Return the folder of the configs: within the package if it is installed, or at the root of a clone."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"
