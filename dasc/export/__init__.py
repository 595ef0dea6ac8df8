"""Files for deployment: ONNX, int8, safetensors, sparse safetensors, torch.export and state_dict."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ("load_safetensors", "load_sparse", "load_state_dict_file")


def load_safetensors(path: str | Path, trust: Iterable[str] = ()) -> "nn.Module":
    """Rebuild the network of a file of the format `safetensors`; see `dasc.export.safetensors_file`."""
    from dasc.export import safetensors_file

    return safetensors_file.load_safetensors(path, trust)


def load_sparse(path: str | Path, trust: Iterable[str] = ()) -> "nn.Module":
    """Rebuild the network of a file of the format `sparse`; see `dasc.export.sparse_file`."""
    from dasc.export import sparse_file

    return sparse_file.load_sparse(path, trust)


def load_state_dict_file(path: str | Path, trust: Iterable[str] = ()) -> "nn.Module":
    """Rebuild the network of a file of the format `state_dict`; see `dasc.export.state_dict_file`."""
    from dasc.export import state_dict_file

    return state_dict_file.load_state_dict_file(path, trust)
