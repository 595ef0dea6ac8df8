"""Reading a state_dict from a file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dasc.errors import UserError

SUFFIXES = (".pt", ".pth", ".safetensors")
"""Suffixes of files with a state_dict."""


def read_state_dict(path: str | Path, option: str) -> dict[str, Tensor]:
    """Read a state_dict onto the CPU, tensors only.

    Args:
        path: A file of `torch.save` with a state_dict or with `{'state_dict': ...}`, or a .safetensors file.
        option: Option that names the file, for errors.

    Raises:
        UserError: The file is missing, cannot be read or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}: check {option}")
    try:
        state: Any = _read(path)
    except ImportError:
        raise UserError(f"{path} needs the package safetensors: pip install safetensors") from None
    except Exception as error:  # whatever bytes make of the unpickler
        raise UserError(
            f"{path} cannot be read as a state_dict, it may be truncated ({type(error).__name__}): use another file"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("dasc"), dict):
        raise UserError(f"{option} must be a state_dict, got {path}, a checkpoint of dasc: set init_from.path to it")
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no state_dict: save network.state_dict() in it, or use a checkpoint of dasc")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    return torch.load(path, map_location="cpu", weights_only=True)
