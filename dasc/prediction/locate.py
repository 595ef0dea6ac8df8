"""Checkpoint that a user names by its path, its run folder, `best` or `last`."""

from pathlib import Path

from dasc import runs
from dasc.errors import UserError

NAMES = ("best", "last")


def find_checkpoint(given: str, root: Path) -> tuple[Path, str]:
    """Return the path of a checkpoint, and a remark for the user or ''.

    Args:
        given: A file; a run folder, its checkpoints/ or a folder with runs (their newest), which have the checkpoint
            `best` or else `last`; or `best` or `last` of the newest run under `root`.
        root: The folder that contains lightning_logs/.

    Raises:
        UserError: There is no such run or checkpoint. A path that is not a folder is not checked.
    """
    if given in NAMES:
        return _newest(given, root)
    path = Path(given).expanduser()
    if not path.is_dir():
        return path, ""
    found = runs.find_in(path, *NAMES)
    if found is not None:
        return found, ""
    raise UserError(
        f"{path} has no checkpoint best.ckpt or last.ckpt: give a run folder, such as {runs.LOGS}/version_0, or a file"
    )


def _newest(name: str, root: Path) -> tuple[Path, str]:
    if not any((folder / runs.CHECKPOINTS / f"{name}.ckpt").is_file() for folder in runs.run_folders(root)):
        raise UserError(
            f"no run under {root / runs.LOGS} has a checkpoint '{name}': give the path of a checkpoint or of a run "
            "folder, or --root FOLDER, which contains lightning_logs/"
        )
    path, _, remark = runs.newest_with(root, name, lambda recorded: "")
    return path, remark
