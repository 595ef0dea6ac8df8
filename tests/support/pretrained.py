"""Pretrained weights of torchvision that are downloaded from a file of this machine."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

NOWHERE = "http://127.0.0.1:9"
"""A URL that refuses connections."""


def serve(patch: pytest.MonkeyPatch, choice: Any, state: dict[str, Tensor], folder: Path) -> Path:
    """Let torchvision's weights `choice` be `state`, at a file:// URL whose name holds its SHA-256 as theirs do.

    The cache of downloads is a new folder, `home` in `folder`.
    """
    folder.mkdir(exist_ok=True)
    draft = folder / "draft.pth"
    torch.save(state, draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    path = draft.rename(folder / f"{choice.name}-{digest[:8]}.pth")
    patch.setattr(choice.value, "url", path.as_uri())
    patch.setenv("TORCH_HOME", str(folder / "home"))
    return path


def cached(folder: Path) -> list[Path]:
    """Return all files in the cache of downloads of `serve`."""
    return [path for path in (folder / "home").rglob("*") if path.is_file()]
