import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dasc.study.execution.runners import local
from dasc.study.execution.runners.local import default_jobs, default_threads, outcome, visible_gpus
from dasc.study.execution.runners.runner import Work
from dasc.study.folders import RESULT, run_folder, write_json
from dasc.study.plan import Run
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
    done = dasc("study", "run", "study.yaml", "--results", "out", "--jobs", jobs, "--cpus", 3)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(path.read_text()) for path in folder.glob("[0-9]*.json")]


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
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["threads"] == 3


def test_the_gpus_are_those_of_the_machine_where_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


@pytest.mark.parametrize(("visible", "gpus"), [("-1", []), ("NoDevFiles", []), ("", []), ("1, -1,2", ["1"])])
def test_what_follows_an_invalid_name_is_no_gpu(visible: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == gpus


GIGABYTE = 10**9


def work(results: Path, runs: int, threads: int = 1, **trainer: Any) -> Work:
    return Work(results, [Run(str(i), f"run {i}", config={"trainer": trainer}) for i in range(runs)], threads)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a machine of 8 cores and 4 GB, without a GPU; this process has had 1 GB."""
    monkeypatch.setattr(local, "cores", lambda: 8)
    monkeypatch.setattr(local, "available_memory", lambda: 4 * GIGABYTE)
    monkeypatch.setattr(local, "peak_memory", lambda: 1000)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")


@pytest.mark.usefixtures("machine")
def test_on_a_cpu_a_training_has_one_thread_and_the_memory_and_cores_limit_the_jobs(tmp_path: Path) -> None:
    assert default_threads(work(tmp_path, 3).runs) == 1
    assert default_jobs(work(tmp_path, 20)) == 4  # of 1 GB
    assert default_jobs(work(tmp_path, 3)) == 3
    assert default_jobs(work(tmp_path, 20, threads=4)) == 2
    assert default_jobs(work(tmp_path, 20, devices=2)) == 2
    assert default_jobs(work(tmp_path, 0)) == 1
    for name, peak in (("a", 400), ("b", 500), ("old", None)):
        recorded = {} if peak is None else {"peak_memory": peak}
        write_json(run_folder(tmp_path, name) / RESULT, {"rows": [], "timing": recorded})
    assert default_jobs(work(tmp_path, 20)) == 8  # of 0.5 GB


@pytest.mark.usefixtures("machine")
def test_on_a_gpu_machine_there_are_as_many_jobs_as_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert (default_jobs(work(tmp_path, 20)), default_threads(work(tmp_path, 20).runs)) == (2, 4)
    on_cpu = work(tmp_path, 20, accelerator="cpu")
    assert (default_jobs(on_cpu), default_threads(on_cpu.runs)) == (4, 1)
    assert default_jobs(work(tmp_path, 20, devices=2)) == 1


def test_what_went_wrong_is_what_the_process_left_or_how_it_ended(tmp_path: Path) -> None:
    run, folder = Run("a", "run a"), run_folder(tmp_path, "a")
    folder.mkdir(parents=True)
    assert "ended by signal 9 (often too little memory)" in str(outcome(run, tmp_path, -9))
    assert outcome(run, tmp_path, 3) == f"its process ended with status 3: see {folder / 'log.txt'}"
    (folder / "error.txt").write_text("no data\n")
    assert outcome(run, tmp_path, 1) == "no data"
    (folder / "result.json").write_text("{}")
    assert outcome(run, tmp_path, 0) is None
