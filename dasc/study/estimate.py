"""How long the jobs of a study will take: from those that are finished, or from a few steps of training."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from dasc.config import ConfigReader
from dasc.modules import Classifier, DistilledClassifier
from dasc.study.folders import RESULT, read_json, run_folder
from dasc.study.jobs import Job

START = 2.0
"""Seconds that a job takes beside its training, about."""

_STEPS = 3
_IMAGES = 64


def seconds_per_epoch(jobs: Sequence[Job], results: Path, reader: ConfigReader) -> dict[str, float]:
    """Return what an epoch of each job that is not finished takes on one process, by the job's id.

    Jobs of the same module, network, data and trainer take the same; those of which one is finished are not measured.

    Raises:
        UserError: The data are not there.
    """
    known: dict[str, float] = {}
    kinds = {job.id: _kind(job) for job in jobs}
    left = []
    for job in jobs:
        result = read_json(run_folder(results, job.id) / RESULT)
        if result is None:
            left.append(job)
        elif result["timing"]["epochs"]:
            known[kinds[job.id]] = result["timing"]["seconds"] / result["timing"]["epochs"]
    for job in left:
        if kinds[job.id] not in known:
            known[kinds[job.id]] = _measure(job, reader)
    return {job.id: known[kinds[job.id]] for job in left}


def span(jobs: Sequence[Job], seconds: Mapping[str, float], slots: int) -> float:
    """Return the seconds until jobs are carried out by so many processes, none faster for there being others."""
    free = [0.0] * slots
    ends: dict[str, float] = {}
    for job in jobs:
        begins = max([min(free), *(ends.get(before, 0.0) for before in job.after)])
        ends[job.id] = begins + seconds[job.id]
        free[free.index(min(free))] = ends[job.id]
    return max(ends.values(), default=0.0)


def _kind(job: Job) -> str:
    """Return what decides the time of an epoch, as text; rows may still differ in their blocks."""
    kept = {key: job.config[key] for key in ("model", "data", "trainer")}
    blocks = [row.get("auxiliary", 0) for row in job.config["stages"]]
    return repr((kept, blocks[-1] if job.start else blocks))


def _measure(job: Job, reader: ConfigReader) -> float:
    """Train a few steps on noise; a teacher, which need not exist yet, is left out."""
    module, data = reader.make(job.config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randn(min(data.batch_size, _IMAGES), 3, *data.image_size, device=device)
    targets = torch.randint(data.num_classes, (len(images),), device=device)
    network = module.network.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    mixed = str(job.config["trainer"].get("precision")).startswith(("bf16", "16"))
    for step in range(_STEPS + 1):
        if step == 1:
            _wait(device)
            start = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            loss = torch.nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _wait(device)
    seconds = (time.monotonic() - start) / _STEPS / len(images)
    return seconds * data.counts()["train"] * _views(module)


def _views(module: Classifier) -> float:
    """Return how many times the work of a plain step a step is: three passes, and one more for each that is scored."""
    if not isinstance(module, DistilledClassifier):
        return 1.0
    return 4 / 3 if module.selection is None else (3 + 2 * module.selection.views) / 3


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
