"""The format `safetensors`: the weights, and the metadata in the header."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.export.format import CPU, Format, Model, Run
from dasc.export.metadata import Metadata
from dasc.export.rebuild import contiguous_state, rebuild, run_of


class SafetensorsFormat(Format):
    """Safetensors file with the state_dict; the metadata are its `__metadata__`."""

    name = "safetensors"
    suffix = ".safetensors"
    packages = ("safetensors",)

    def write(self, model: Model, path: Path) -> None:
        """Write a model into a new file."""
        from safetensors.torch import save

        path.write_bytes(save(contiguous_state(model.network), metadata=self.metadata_of(model).to_strings()))

    def read_metadata(self, path: Path) -> Mapping[str, str]:
        """Return the metadata in a file; see `Format.read_metadata`."""
        return _read(path, with_tensors=False)[0]

    def open(self, path: Path, threads: int = 1, device: torch.device = CPU) -> Run:
        """Rebuild the network of a file; see `Format.open`. It runs with torch's threads."""
        return run_of(load_safetensors(path, self.trust), device)


def load_safetensors(path: str | Path, trust: Iterable[str] = ()) -> nn.Module:
    """Rebuild the network of a file of the format `safetensors`; no code in the file is executed.

    Args:
        path: The file.
        trust: Modules whose network classes may be imported, in addition to `dasc.checkpoint.TRUSTED`.

    Returns:
        The network on the CPU, in eval mode. It maps normalised images (B, 3, H, W) to logits.

    Raises:
        UserError: The file is missing, damaged or of another kind, or names a class that is not trusted.
    """
    strings, state = _read(Path(path))
    return rebuild(Metadata.from_strings(strings, path), state, path, trust)


def _read(path: Path, with_tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and the tensors of a file; safetensors compares sizes with that of the file.

    Raises:
        UserError: The file is missing or damaged.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()} if with_tensors else {}
            return file.metadata() or {}, tensors
    except Exception:  # safetensors raises errors of several classes
        raise UserError(f"{path} is no safetensors file, or it is truncated: export it again") from None
