"""Studies with few of their runs."""

import itertools
from dataclasses import replace

from dasc.study.specification.file import StudyFile


def few(study: StudyFile) -> StudyFile:
    """Leave runs that have each label once, and three of a long axis; of a shorter copy of a study, three of any."""
    axes = {axis: list(labels) for axis, labels in study.grid.axes.items()}
    most = 3 if study.name.startswith(("smoke", "small")) else 7
    chosen = {a: labels if len(labels) <= most else [labels[0], labels[3], labels[-1]] for a, labels in axes.items()}
    chosen |= {axis: labels[:1] for axis, labels in chosen.items() if axis == study.grid.seed_axis}
    count = max(map(len, chosen.values()))
    kept = [tuple(labels[k % len(labels)] for labels in chosen.values()) for k in range(count)]
    others = [labels for labels in itertools.product(*axes.values()) if labels not in kept]
    exclude = tuple({a: (label,) for a, label in zip(axes, labels, strict=True)} for labels in others)
    return replace(study, exclude=exclude)
