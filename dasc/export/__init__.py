"""Files for deployment: ONNX, int8, safetensors, sparse safetensors, torch.export and state_dict."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ("load_sparse",)


def load_sparse(path: str | Path, trust: Iterable[str] = ()) -> "nn.Module":
    """Rebuild the network of a file of the format `sparse`; see `dasc.export.sparse_file.load_sparse`."""
    from dasc.export import sparse_file

    return sparse_file.load_sparse(path, trust)
