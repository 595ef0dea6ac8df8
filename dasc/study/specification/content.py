"""IDs of runs: hashes of what is trained, wherever its files are and however it is written."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dasc.stages import Stage

_ELSEWHERE = (
    *("ckpt_path", "trust", "weights_only"),
    *("trainer.default_root_dir", "trainer.logger", "trainer.enable_progress_bar"),
    *("data.init_args.root", "data.init_args.download", "data.init_args.num_workers", "data.init_args.on_device"),
)
"""Options that only say where files are and how progress is shown."""


def content_base(config: Mapping[str, Any], trainer: Mapping[str, Any], starts: Mapping[str, str]) -> str:
    """Return the hash of a config without its table.

    Args:
        config: All options of `dasc fit`.
        trainer: The defaults of the trainer, which do not count.
        starts: What counts in place of paths of checkpoints of other runs.
    """
    kept = {key: value for key, value in config.items() if key not in ("stages", "epochs_scale", "auxiliary_scale")}
    kept["trainer"] = {key: value for key, value in kept["trainer"].items() if value != trainer.get(key)}
    found = {key: value for key, value in leaves(kept).items() if key not in _ELSEWHERE}
    return _digest({key: starts.get(value, value) if isinstance(value, str) else value for key, value in found.items()})


def content_id(base: str, stages: Sequence[Stage]) -> str:
    """Return the ID of a run, or of one that trains its first stages."""
    return _digest([base, [stage.dump() for stage in stages]])


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a config by their dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping) and value
        found |= leaves(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
