"""Short names of files."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dasc.runs import CHECKPOINTS, LOGS

_LEFT_OUT = (CHECKPOINTS, LOGS)
"""Folders of a run that its name does not need."""


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each file: its name and as many of its folders as make the names distinct, at least one.

    The folders `checkpoints` and `lightning_logs` are left out, such as in `version_0/best.ckpt`.

    Args:
        paths: Different files.
    """
    parts = [_parts(path) for path in paths]
    lengths = [2] * len(paths)
    while True:
        names = ["/".join(own[-length:]) for own, length in zip(parts, lengths, strict=True)]
        counts = Counter(names)
        equal = [place for place, name in enumerate(names) if counts[name] > 1]
        if not equal:
            return names
        if all(lengths[place] >= len(parts[place]) for place in equal):
            return [str(path) if place in equal else names[place] for place, path in enumerate(paths)]
        for place in equal:
            lengths[place] += 1


def _parts(path: Path) -> list[str]:
    whole = Path(os.path.abspath(path))
    return [*(part for part in whole.parts[1:-1] if part not in _LEFT_OUT), whole.name]
