import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dasc.study import runners
from dasc.study.runners import threads_of, visible_gpus
from dasc.study.work import WorkOrder, outcome
from tests.support.command import dasc


def records(tiny: Path, folder: Path, runs: int, jobs: int, exclusive: bool) -> list[dict[str, Any]]:
    """Run a study of `runs` trainings of one step, and return what each recorded."""
    config = yaml.safe_load(tiny.read_text())
    record = {"class_path": "recording.Record", "init_args": {"folder": str(folder), "exclusive": exclusive}}
    config["trainer"] |= {"limit_train_batches": 1, "limit_val_batches": 1, "callbacks": [record]}
    config["stages"] = [{"epochs": 1}]
    (folder / "one.yaml").write_text(yaml.safe_dump(config))
    study = {"name": "x", "configs": ["one.yaml"], "axes": {"seed": {"seed_everything": list(range(runs))}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    done = dasc("study", "run", "study.yaml", "--results", "out", "--jobs", jobs, threads=3)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(path.read_text()) for path in folder.glob("*.json")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("visible", "jobs", "runs", "seen"),
    [
        ("GPU-a,GPU-b,GPU-c", 2, 3, {"GPU-a", "GPU-b"}),
        ("0,1", 1, 1, {"0,1"}),  # alone it may take all
        ("5", 2, 2, {"5"}),
    ],
)
def test_trainings_side_by_side_share_the_gpus_and_have_their_threads(
    visible: str, jobs: int, runs: int, seen: set[str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = records(tiny, tmp_path, runs, jobs, exclusive=len(seen) == jobs)
    assert len(found) == runs
    assert {record["gpus"] for record in found} == seen
    assert {record["threads"] for record in found} == {3}


def test_the_gpus_are_those_of_the_machine_where_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


def test_trainings_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runners, "cores", lambda: 8)
    assert [threads_of(jobs) for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of(2) == 3


def test_what_went_wrong_is_what_the_process_left_or_how_it_ended(tmp_path: Path) -> None:
    order = WorkOrder(folder=tmp_path, rows=1)
    assert "ended by signal 9 (often too little memory)" in str(outcome(order, -9))
    assert outcome(order, 3) == f"its process ended with status 3: see {tmp_path / 'log.txt'}"
    (tmp_path / "error.txt").write_text("no data\n")
    assert outcome(order, 1) == "no data"
    (tmp_path / "result.json").write_text("{}")
    assert outcome(order, 0) is None
