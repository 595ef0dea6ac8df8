"""What a checkpoint of dasc holds, read in one place.

A checkpoint is Lightning's, with `network.*` and `masks.*` in its `state_dict`, and plain data under `dasc`:
what the network is, its classes and normalisation, the table of stages, and what must be equal for a run to continue.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dasc import checksum
from dasc.classes import difference_of_classes
from dasc.errors import UserError
from dasc.networks import build_network
from dasc.stages.structure import restore_structure

FORMAT = 2
"""Format of the checkpoints that are written. Format 1 had other random draws: its runs cannot be resumed."""

READ = (1, 2)
"""Formats whose networks can be read."""


TRUSTED = ("dasc", "torchvision", "timm")
"""Modules whose network classes are imported where a checkpoint names them."""


class DamagedError(UserError):
    """A checkpoint file whose content is damaged: it cannot be read, or its checksum does not match."""


class LoadedNetwork(NamedTuple):
    """A network as a checkpoint left it, on the CPU in eval mode."""

    network: nn.Module
    """The network with its weights."""
    masks: dict[str, Tensor]
    """The masks by weight name (bool, False where a weight is pruned); empty where the run had none."""
    meta: dict[str, Any]
    """The plain data under `dasc`."""


def read(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint of dasc onto the CPU, tensors and plain data only.

    Args:
        path: The file.
        mmap: Whether the tensors are left in the file until they are used.

    A file that has a checksum is verified before any of it is used.

    Raises:
        UserError: The file is missing, or not a checkpoint of this version of dasc.
        DamagedError: The file is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}: check the path")
    valid = _verify(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # whatever bytes make of the unpickler
        raise DamagedError(
            f"{path} cannot be read as a checkpoint, it may be truncated ({type(error).__name__}): use another file"
        ) from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("dasc"), dict):
        raise UserError(f"{path} is not a checkpoint of a dasc run: use a file from its checkpoints/ folder")
    if valid is None and "checksum" in checkpoint["dasc"]:
        raise DamagedError(f"{path} is damaged: its checksum is missing; use another checkpoint")
    if checkpoint["dasc"].get("format") not in READ:
        raise UserError(
            f"checkpoint format must be one of {', '.join(map(str, READ))}, got {checkpoint['dasc'].get('format')} "
            f"in {path}: use the version of dasc that wrote it"
        )
    return checkpoint


def _verify(path: Path) -> bool | None:
    """Return whether a file has a checksum that matches; None without one.

    Raises:
        UserError: The file cannot be opened.
        DamagedError: The checksum does not match.
    """
    try:
        valid = checksum.has_valid_checksum(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read as a checkpoint ({error.strerror}): use another file") from None
    if valid is False:
        raise DamagedError(f"{path} is damaged: its checksum does not match; use another checkpoint")
    return valid


def load_network(path: str | Path, trust: Iterable[str] = ()) -> LoadedNetwork:
    """Rebuild the network of a checkpoint with its weights and masks.

    Args:
        path: The file.
        trust: Modules, such as `my_package`, whose network classes may be imported, in addition to `TRUSTED`.

    Raises:
        UserError: The file cannot be used, and why.
    """
    checkpoint = read(path)
    check_trusted(path, checkpoint["dasc"]["network"]["class_path"], trust)
    network = build_network(checkpoint["dasc"]["network"])
    restore_structure(network, checkpoint["dasc"])
    try:
        network.load_state_dict(_below("network.", checkpoint["state_dict"]))
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not fit its own network ({str(error).splitlines()[0]})") from None
    return LoadedNetwork(network.eval(), _below("masks.", checkpoint["state_dict"]), checkpoint["dasc"])


def check_trusted(path: object, class_path: str, trust: Iterable[str]) -> None:
    """Refuse a network class of a module that is not trusted: an import runs the code of the module.

    Args:
        path: The file that names the class, for errors.
        class_path: Import path of the class.
        trust: Trusted modules, in addition to `TRUSTED`.

    Raises:
        UserError: The module of the class is not trusted.
    """
    if not any(class_path.startswith(f"{module}.") for module in (*TRUSTED, *trust)):
        raise UserError(
            f"{path} names the network class {class_path}; to import it, add --trust {class_path.partition('.')[0]}"
        )


def check_complete(read: dict[str, Any], path: Path) -> None:
    """Check that a checkpoint has what a run needs to resume.

    Raises:
        UserError: It has the weights only.
    """
    if "optimizer_states" not in read:
        raise UserError(
            f"{path} has no optimizer state (save_weights_only), a run cannot resume from it: "
            f"give another checkpoint, or start a new run with --init_from.path {path}"
        )


def check_continues(recorded: dict[str, Any], current: dict[str, Any]) -> None:
    """Check that a run may go on from a checkpoint.

    The rows of the table up to and including the checkpoint's own, the network, the data, the recipe (module and
    optimizer), the trainer's settings and the seed must be equal; rows that have not begun may differ.

    Args:
        recorded: The checkpoint's data under `dasc`.
        current: The same data of the run that is to go on.

    Raises:
        UserError: They differ, and where.
    """
    if recorded["format"] != FORMAT:
        raise UserError(
            f"a checkpoint of format {recorded['format']} cannot be resumed: an earlier version of dasc, whose random "
            "draws were others, wrote it. Start a new run from its weights with init_from"
        )
    if not recorded.get("unfinished", {}).get("between_steps", True):
        raise UserError(
            "a checkpoint that was saved within an optimizer step cannot be resumed: use last.ckpt, or one that was "
            "saved between two steps"
        )
    different = [
        line
        for key in ("network", "data", "recipe", "trainer", "seed")
        for line in _differences(key, recorded[key], current[key])
    ]
    different += _other_images(recorded, current)
    begun = recorded["stage"] + 1
    if recorded["stages"][:begun] != current["stages"][:begun]:
        for number, row in enumerate(recorded["stages"][:begun], start=1):
            now = current["stages"][number - 1] if number <= len(current["stages"]) else "missing"
            if now != row:
                different.append(f"row {number} of stages is {now}, recorded is {row}")
    if different:
        raise UserError(
            f"this run cannot continue that checkpoint: {'; '.join(different)}: "
            "give what was recorded, or start anew with init_from"
        )


def _other_images(recorded: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return how the classes and the training images differ."""
    classes = difference_of_classes(recorded.get("classes", ()), current.get("classes", ()))
    if classes:
        return [f"the classes differ: {classes}"]
    before, now = recorded.get("split"), current.get("split")
    if not before or not now or before["digest"] == now["digest"]:
        return []
    return [f"the {now['images']} training images are others than the {before['images']} recorded ones"]


def _differences(key: str, recorded: Any, current: Any) -> list[str]:
    if isinstance(recorded, dict) and isinstance(current, dict):
        names = [*recorded, *(name for name in current if name not in recorded)]
        return [line for name in names for line in _differences(f"{key}.{name}", recorded.get(name), current.get(name))]
    return [] if recorded == current else [f"{key} is {current}, recorded is {recorded}"]


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
