"""The format `state_dict`: the weights for PyTorch alone."""

import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from dasc.errors import UserError
from dasc.export.card import JSON_FILE
from dasc.export.format import CPU, Format, Model, Run
from dasc.export.metadata import Metadata
from dasc.export.rebuild import contiguous_state, rebuild, run_of
from dasc.networks.state_file import read_state_dict

CARD = JSON_FILE
"""File in the same folder whose key `metadata` has the metadata."""


class StateDictFormat(Format):
    """File of `torch.save` with the state_dict. It has no metadata: those are in the model card in the same folder."""

    name = "state_dict"
    suffix = ".pt"

    def write(self, model: Model, path: Path) -> None:
        """Write a model into a new file."""
        buffer = BytesIO()  # with a path, torch.save writes its name into the archive
        torch.save(contiguous_state(model.network), buffer)
        path.write_bytes(buffer.getbuffer())

    def read_metadata(self, path: Path) -> Mapping[str, str]:
        """Return the metadata in the model card in the folder of a file; see `Format.read_metadata`.

        Raises:
            UserError: There is no model card, or it is damaged.
        """
        card = path.with_name(CARD)
        try:
            content = json.loads(card.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(
                f"{path} has no metadata, and there is no {CARD} in its folder: copy it from where the file was "
                "exported, or export in another format"
            ) from None
        except (ValueError, RecursionError):
            raise UserError(f"{card} is damaged: it is no JSON; export again") from None
        strings = content.get("metadata") if isinstance(content, dict) else None
        if not isinstance(strings, dict) or not all(isinstance(value, str) for value in strings.values()):
            raise UserError(f"{card} is damaged: its metadata are wrong; export again")
        return strings

    def open(self, path: Path, threads: int = 1, device: torch.device = CPU) -> Run:
        """Rebuild the network of a file; see `Format.open`. It runs with torch's threads."""
        return run_of(load_state_dict_file(path, self.trust), device)


def load_state_dict_file(path: str | Path, trust: Iterable[str] = ()) -> nn.Module:
    """Rebuild the network of a file of the format `state_dict`; no code in the file is executed.

    Args:
        path: The file; `model_card.json` is in the same folder.
        trust: Modules whose network classes may be imported, in addition to `dasc.checkpoint.TRUSTED`.

    Returns:
        The network on the CPU, in eval mode. It maps normalised images (B, 3, H, W) to logits.

    Raises:
        UserError: The file or the card is missing or damaged, or the card names a class that is not trusted.
    """
    path = Path(path)
    state = read_state_dict(path, "the path of the exported file")
    metadata = Metadata.from_strings(StateDictFormat().read_metadata(path), path.with_name(CARD))
    if not all(tensor.is_contiguous() for tensor in state.values()):
        raise UserError(f"{path} must be a file of dasc export, but its tensors are not contiguous: export it again")
    return rebuild(metadata, state, path, trust)
