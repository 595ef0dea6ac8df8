"""IDs of runs, and the first stages that several runs share, which are trained once."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from dasc.stages import Stage
from dasc.study.plan import SHARED, Run

_ELSEWHERE = (
    *("ckpt_path", "trust", "weights_only"),
    *("trainer.default_root_dir", "trainer.logger", "trainer.enable_progress_bar"),
    *("data.init_args.root", "data.init_args.download", "data.init_args.num_workers", "data.init_args.on_device"),
)
"""Options that only say where files are and how progress is shown."""

_STAGE_FILE = re.compile(
    r"(?P<id>[0-9a-f]{12})/lightning_logs/version_0/checkpoints/stage-(?P<stage>\d+)(-best)?\.ckpt$"
)


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


@dataclass
class _Node:
    """A row of a table, among the tables that begin with the same rows."""

    run: Run
    depth: int
    next: dict[Stage, Self] = field(default_factory=dict)
    ends: bool = False


def share(runs: Sequence[Run]) -> list[Run]:
    """Return runs that continue from each other, and from trainings of the stages that they share.

    Runs that begin with the same rows, and are equal in all but the table, continue from one training of those rows:
    an equal row after equal rows gives equal weights, because a row's randomness depends on seed and epoch only.
    """
    roots: dict[str, _Node] = {}
    for run in runs:
        node = roots.setdefault(run.base, _Node(run, 0))
        for depth, stage in enumerate(run.stages, start=1):
            node = node.next.setdefault(stage, _Node(run, depth))
        node.ends, node.run = True, run
    trained = {run.id: run for root in roots.values() for run in _trainings(root, None)}
    trained = {name: replace(run, config=_with_trained(run.config, trained)) for name, run in trained.items()}
    listed: dict[tuple[str, str], Run] = {}
    for run in runs:
        own = start = trained[run.id]
        before = []
        while start.start is not None:
            start = trained[start.start]
            before.append(start)
        listed |= {(shared.id, SHARED): shared for shared in reversed(before) if shared.part == SHARED}
        config = _with_trained(run.config, trained)
        listed[run.id, run.title] = replace(
            run, start=own.start, start_rows=own.start_rows, after=own.after, config=config
        )
    return list(listed.values())


def _with_trained(value: Any, trained: Mapping[str, Run]) -> Any:
    """Return an option with the paths of stages' checkpoints in the trainings that have these stages."""
    if isinstance(value, Mapping):
        return {key: _with_trained(inner, trained) for key, inner in value.items()}
    found = _STAGE_FILE.search(value) if isinstance(value, str) else None
    if found is None or found["id"] not in trained:
        return value
    run = trained[found["id"]]
    while run.start is not None and int(found["stage"]) <= run.start_rows:
        run = trained[run.start]
    return value[: found.start("id")] + run.id + value[found.end("id") :]


def _trainings(node: _Node, start: Run | None) -> Iterator[Run]:
    """Yield what is trained in the rows from a node on, which continue from a training of the rows before."""
    if node.ends or (node.depth > 0 and len(node.next) > 1):
        run, rows = node.run, node.run.stages[: node.depth]
        if not node.ends:
            title = f"stage {node.depth} of {run.title} and others"
            config = {**run.config, "stages": run.config["stages"][: node.depth]}
            run = replace(run, id=content_id(run.base, rows), title=title, part=SHARED, labels={}, config=config)
        if start is not None:
            run = replace(run, start=start.id, start_rows=start.rows, after=(start.id, *run.after))
        start = replace(run, stages=rows, rows=node.depth)
        yield start
    for following in node.next.values():
        yield from _trainings(following, start)
