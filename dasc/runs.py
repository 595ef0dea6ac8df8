"""The folders that runs leave: lightning_logs/version_N with checkpoints/ in it."""

from pathlib import Path
from typing import Any

from dasc import checkpoint
from dasc.errors import UserError

LOGS = "lightning_logs"


def run_folders(root: Path) -> list[Path]:
    """Return the run folders under `root`, the newest first."""
    folders = [path for path in (root / LOGS).glob("version_*") if path.name.removeprefix("version_").isdigit()]
    return sorted(folders, key=lambda path: int(path.name.removeprefix("version_")), reverse=True)


def newest_to_continue(root: Path, current: dict[str, Any]) -> tuple[Path | None, str]:
    """Return `last.ckpt` of the newest run under `root` that `current` may continue; None where there is none.

    With it comes why the newest run of all cannot be continued; empty where there is none.
    """
    reason = ""
    for folder in run_folders(root):
        path = folder / "checkpoints" / "last.ckpt"
        if not path.is_file():
            continue
        try:
            checkpoint.check_continues(checkpoint.read(path)["dasc"], current)
        except UserError as error:
            reason = reason or f"{folder.name}: {error}"
            continue
        return path, ""
    return None, reason


def newest_with(root: Path, name: str, network: dict[str, Any]) -> Path:
    """Return the checkpoint `name` of the newest run under `root` that has one of this network.

    Raises:
        UserError: No run has one.
    """
    for folder in run_folders(root):
        path = folder / "checkpoints" / f"{name}.ckpt"
        if path.is_file() and checkpoint.read(path)["dasc"]["network"] == network:
            return path
    raise UserError(
        f"no run under {root / LOGS} has a checkpoint '{name}' of this network: run `dasc fit` first, or give a path"
    )


def folder_of(path: Path) -> Path | None:
    """Return the run folder that a `last.ckpt` continues in; None where `path` is another file."""
    inside = path.name == "last.ckpt" and path.parent.name == "checkpoints" and path.parent.parent.parent.name == LOGS
    return path.parent.parent if inside else None


def checkpoint_in(path: str | Path) -> Path:
    """Return a checkpoint: `path` itself, or `best` of the run in that folder, or of the newest run under it.

    Raises:
        UserError: The folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    root = path.parent if path.name == LOGS else path
    for folder in (path, *run_folders(root)):
        best = folder / "checkpoints" / "best.ckpt"
        if best.is_file():
            return best
    raise UserError(
        f"no run in {path} has a checkpoint 'best': train one there first, or give the path of a checkpoint"
    )
