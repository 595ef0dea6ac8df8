"""The SLURM runner, on submitit's local cluster: its jobs are processes of this machine."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from dasc.cli import main
from dasc.errors import UserError
from dasc.study.execution.runners import RUNNERS
from dasc.study.execution.runners.runner import Work
from dasc.study.execution.runners.slurm import SlurmRunner, _parameters, _Task
from dasc.study.folders import RESULT, run_folder, write_json
from dasc.study.plan import Run


class LocalCluster(SlurmRunner):
    """A SLURM runner whose cluster is this machine."""

    @classmethod
    def make(cls, given: argparse.Namespace, work: Work) -> Self:
        return cls(work.results, work.threads, jobs=given.jobs, cluster="local")


def given(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**{"gpus": None, "jobs": None, "slurm": None} | options)


def test_a_job_ends_with_its_run_or_says_what_went_wrong(tmp_path: Path) -> None:
    runner = LocalCluster(tmp_path, cluster="local")
    write_json(run_folder(tmp_path, "finished") / RESULT, {"rows": []})
    futures = [runner.submit(Run(name, name)) for name in ("finished", "without a config")]
    assert futures[0].result(120) is None
    assert "config.yaml" in str(futures[1].result(120))
    assert (run_folder(tmp_path, "without a config") / "error.txt").read_text().strip() == futures[1].result()
    runner.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process is found in /proc")
def test_a_job_that_is_killed_names_its_log(tmp_path: Path) -> None:
    runner = LocalCluster(tmp_path, cluster="local")
    future = runner.submit(Run("a", "a"))
    (job,) = runner._jobs.values()
    while not (tasks := _children(int(job.job_id))):
        time.sleep(0.02)
    os.kill(tasks[0], signal.SIGKILL)
    assert future.result(60) == f"its job {job.job_id} ended without a result: see {job.paths.stderr}"
    runner.stop()


def test_jobs_are_cancelled_when_the_study_stops(tmp_path: Path) -> None:
    runner = LocalCluster(tmp_path, cluster="local")
    runner.submit(Run("a", "a"))
    (job,) = runner._jobs.values()
    runner.stop()
    for _ in range(600):
        if job.done():
            return
        time.sleep(0.05)
    pytest.fail("the job goes on")


@pytest.mark.slow
def test_slurm_gives_the_same_results(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RUNNERS, "slurm", LocalCluster)
    study = tmp_path / "study.yaml"
    study.write_text(
        f"name: x\nconfigs: [{tiny}]\nset: {{stages: [{{epochs: 1}}, {{epochs: 1}}], data.train_size: 300}}\n"
        'axes: {sparsity: {"stages[1].sparsity": [0.3, 0.6]}}\n'
    )
    main(["study", "run", str(study), "--results", "jobs", "--runner", "slurm", "--jobs", "1"])
    assert "3 trainings, 0 of them are finished, 1 at a time" in capsys.readouterr().out
    main(["study", "run", str(study), "--results", "processes", "--jobs", "1"])
    assert Path("jobs/results.csv").read_bytes() == Path("processes/results.csv").read_bytes()


def test_what_slurm_cannot_do_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(tmp_path, [], 1)
    with pytest.raises(UserError, match=r"--gpus must be a whole number for --runner slurm, got 0\.5"):
        SlurmRunner.check(given(gpus=0.5))
    with pytest.raises(UserError, match="--slurm must be NAME=VALUE, got partition"):
        SlurmRunner.check(given(slurm=["partition"]))
    with pytest.raises(UserError, match="--slurm must name parameters of sbatch: Unknown argument 'partitoin'"):
        SlurmRunner(tmp_path, parameters={"partitoin": "gpu"}, cluster="local")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="got a machine without SLURM's srun"):
        SlurmRunner.make(given(), work)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'dasc\[slurm\]'"):
        SlurmRunner.make(given(), work)


def test_a_job_at_its_time_limit_is_queued_again_and_leaves_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _Task()
    error = run_folder(tmp_path, "a") / "error.txt"

    def interrupted(run: Run, results: Path, threads: int) -> str:
        delayed = task.checkpoint(run, results, threads)  # as submitit's handler of the signal does
        assert delayed.function is not task
        assert delayed.args == (run, results, threads)
        error.parent.mkdir(parents=True)
        error.write_text("SystemExit: -1")
        return "SystemExit: -1"

    monkeypatch.setattr("dasc.study.execution.runners.slurm.carry_out_run", interrupted)
    with pytest.raises(SystemExit):
        task(Run("a", "a"), tmp_path, 1)
    assert not error.exists()
    monkeypatch.setattr("dasc.study.execution.runners.slurm.carry_out_run", lambda *_: "its own error")
    assert _Task()(Run("b", "b"), tmp_path, 1) == "its own error"


def test_a_parameter_of_sbatch_is_a_number_or_a_word_or_a_switch(tmp_path: Path) -> None:
    parameters = _parameters(given(slurm=["time=60", "partition=gpu", "exclusive=true", "begin=1:00"]))
    assert parameters == {"time": 60, "partition": "gpu", "exclusive": True, "begin": "1:00"}


def test_a_job_that_sbatch_refuses_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = LocalCluster(tmp_path, cluster="local")

    def refuse(*args: object) -> None:
        raise RuntimeError("sbatch: error: invalid partition\nmore")

    monkeypatch.setattr(runner._executor, "submit", refuse)
    assert str(runner.submit(Run("a", "a")).result(1)).startswith(
        "sbatch refused its job: sbatch: error: invalid partition"
    )
    runner.stop()


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return list(map(int, path.read_text().split())) if path.is_file() else []
