"""`dasc study` as a user runs it: real trainings, killed and continued."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.errors import UserError
from dasc.study.execution.runners import RUNNERS
from dasc.study.execution.runners.ray import RayRunner
from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.folders import is_locked, lock
from dasc.study.plan import Run
from tests.support.command import dasc
from tests.support.results import read_results

GRID: dict[str, Any] = {
    "name": "grid",
    "set": {"stages": [{"epochs": 2}, {"epochs": 1, "sparsity": 0.3}], "data.train_size": 400},
    "axes": {
        "magnitude": {"stages[*].magnitude": ["none", 14]},
        "sparsity": {"stages[1].sparsity": [0.3, 0.6]},
    },
    "figure": {"kind": "magnitude", "metric": "val_accuracy_last"},
}


def write(folder: Path, tiny: Path, **more: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**GRID, "configs": [str(tiny)], **more}, sort_keys=False))
    return path


def checkpoints(results: Path, run: str) -> Path:
    return results / "runs" / run / "lightning_logs" / "version_0" / "checkpoints"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The folder of the grid, carried out by two processes; study.yaml lies beside it."""
    folder = tmp_path_factory.mktemp("study")
    ran = dasc("study", "run", write(folder, tiny), "--results", folder / "grid", "--jobs", 2)
    assert ran.returncode == 0, ran.stderr
    assert "6 trainings, 0 of them are finished" in ran.stdout
    return folder / "grid"


def test_results_have_a_row_for_each_run_and_stage(done: Path) -> None:
    rows = read_results(done / "results.csv")
    assert [(row["axis_magnitude"], row["axis_sparsity"], row["stage"]) for row in rows] == [
        (magnitude, sparsity, stage) for magnitude in ("none", "14") for sparsity in ("0.3", "0.6") for stage in (1, 2)
    ]
    for row in rows:
        folder = checkpoints(done, row["run"]).parent
        recorded = list(csv.DictReader((folder / "stages.csv").read_text().splitlines()))[row["stage"] - 1]
        same = [key for key in recorded if key not in ("sparsity_asked", "lr")]
        assert {key: str(row[key]) for key in same} == {key: recorded[key] for key in same}
        assert row["final"] == (row["stage"] == 2)
        zeros = float(row["axis_sparsity"]) if row["stage"] == 2 else 0.0
        assert row["sparsity"] == pytest.approx(zeros, abs=1e-3)


def test_the_scores_are_those_of_dasc_test(done: Path) -> None:
    row = read_results(done / "results.csv")[-1]
    path = checkpoints(done, row["run"]) / "stage-2.ckpt"
    main(["test", "--config", str(done / "runs" / row["run"] / "config.yaml"), "--ckpt_path", str(path)])
    (record,) = json.loads((path.parents[1] / "test.json").read_text())
    for name in ("accuracy", "nll", "ece"):
        assert row[f"test_{name}"] == pytest.approx(record["metrics"][name], abs=1e-5)


def test_a_run_from_a_shared_stage_has_the_weights_of_one_trained_whole(done: Path) -> None:
    for row in read_results(done / "results.csv")[1::2]:
        config = done / "runs" / row["run"] / "config.yaml"
        main(["fit", "--config", str(config), f"--trainer.default_root_dir=alone/{row['run']}"])
        alone = torch.load(f"alone/{row['run']}/lightning_logs/version_0/checkpoints/last.ckpt", weights_only=True)
        shared = torch.load(checkpoints(done, row["run"]) / "last.ckpt", weights_only=True)
        assert alone["state_dict"].keys() == shared["state_dict"].keys()
        assert all(torch.equal(alone["state_dict"][key], value) for key, value in shared["state_dict"].items())
    timings = [json.loads(path.read_text())["timing"]["epochs"] for path in done.glob("runs/*/result.json")]
    assert sorted(timings) == [1, 1, 1, 1, 2, 2]  # 8 epochs in place of 12


def test_what_is_finished_is_not_run_again(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.glob("runs/**/*.ckpt")}
    main(["study", "run", str(done.parent / "study.yaml"), "--results", str(done)])
    assert "6 trainings, 6 of them are finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in done.glob("runs/**/*.ckpt")} == before


def test_plan_says_what_is_shared_and_what_is_left(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(done.parent / "study.yaml")
    main(["study", "plan", study, "--results", "elsewhere"])
    said = capsys.readouterr().out
    assert "4 runs, 12 epochs if each were trained whole; shared stages are trained once: 8 epochs, 33% less" in said
    assert "6 of 6 trainings are to be done; the time that they take is known once" in said
    assert not Path("elsewhere").exists()
    main(["study", "plan", study, "--results", str(done)])
    assert f"All are finished: {done}" in capsys.readouterr().out
    given = yaml.safe_load((done.parent / "study.yaml").read_text())
    given["axes"]["sparsity"]["stages[1].sparsity"].append(0.9)
    Path("more.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    main(["study", "plan", "more.yaml", "--results", str(done), "--jobs", "2"])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("2 of 8 trainings are to be done: ")
    assert said.endswith(" with --jobs 2, by those finished")


def test_status_and_report_read_what_was_run(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, results = str(done.parent / "study.yaml"), (done / "results.csv").read_bytes()
    main(["study", "status", study, "--results", str(done)])
    assert capsys.readouterr().out.splitlines()[-1] == "6 finished"
    (done / "results.csv").unlink()
    main(["study", "report", study, "--results", str(done)])
    assert (done / "results.csv").read_bytes() == results
    page = (done / "report.html").read_text()
    assert "data:image/svg+xml" in page
    assert "https://" not in page
    assert "4 of 4 finished" in (done / "report.md").read_text()


def test_the_magnitude_that_suits_each_sparsity_becomes_a_table(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["study", "magnitudes", str(done.parent / "study.yaml"), "--results", str(done), "--output", "fitted.yaml"])
    said = capsys.readouterr().out.splitlines()
    rows = read_results(done / "results.csv")
    table = yaml.safe_load(Path("fitted.yaml").read_text())["stages"]
    assert [row.get("sparsity", 0.0) for row in table] == [0.0, 0.3, 0.6]
    for line, row in zip(said[1:4], table, strict=True):
        at = {r["magnitude"]: r["val_accuracy_last"] for r in rows if r["sparsity_asked"] == row.get("sparsity", 0.0)}
        best = "none" if at["none"] >= at["14"] else "14"
        maximal = "14" if at["14"] >= at["none"] else "-"
        assert line.split() == [f"{row.get('sparsity', 0):.0%}", "14", best, maximal]
        assert str(row.get("magnitude", "none")) == best
    tiny = yaml.safe_load((done.parent / "study.yaml").read_text())["configs"][0]
    main(["plan", "--config", tiny, "--config", "fitted.yaml"])
    assert "60.0%" in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_may_have_processes_of_its_own(tiny: Path, tmp_path: Path) -> None:
    study = write(tmp_path, tiny, axes={"sparsity": {"stages[1].sparsity": [0.6]}}, figure=None)
    ran = dasc("study", "run", study, "--results", "two", "--trainer.devices", 2, "--trainer.accelerator", "cpu")
    assert ran.returncode == 0, ran.stdout
    (times,) = csv.DictReader(Path("two/times.csv").read_text().splitlines())
    assert times["processes"] == "2"
    assert len(read_results(Path("two/results.csv"))) == 2


@pytest.mark.slow
def test_a_study_killed_three_times_ends_with_the_same_results(done: Path) -> None:
    study, results = done.parent / "study.yaml", Path("killed")
    command = [sys.executable, "-m", "dasc", "study", "run", str(study), "--results", str(results), "--jobs", "2"]
    for number, alone in enumerate((False, True, False), start=1):
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True)
        while len(list(results.glob("runs/*/lightning_logs/version_0/checkpoints/last.ckpt"))) < 2 * number - 1:
            assert process.poll() is None
            time.sleep(0.05)
        if alone:  # its trainings outlive it; the next one waits for them
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode == 0
    assert (results / "results.csv").read_bytes() == (done / "results.csv").read_bytes()
    for run in (done / "runs").iterdir():
        whole = load_network(checkpoints(done, run.name) / "last.ckpt").network.state_dict()
        killed = load_network(checkpoints(results, run.name) / "last.ckpt").network.state_dict()
        assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_a_run_that_fails_stops_those_that_start_from_it_and_no_others(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"a": {"good": {"data.cutout": 2}, "bad": {"init_from.path": "none.ckpt"}}}
    study = write(tmp_path, tiny, axes=axes | {"sparsity": GRID["axes"]["sparsity"]}, figure=None)
    ran = dasc("study", "run", study, "--results", "out")
    assert ran.returncode == 1
    assert ran.stdout.count("failed (there is no checkpoint none.ckpt: check the path)") == 1
    assert ran.stdout.count("not begun: it starts from") == 2
    assert {row["axis_a"] for row in read_results(Path("out/results.csv"))} == {"good"}
    for report in ("report.md", "report.html"):
        assert "there is no checkpoint none.ckpt" in Path("out", report).read_text()
    main(["study", "status", str(study), "--results", "out"])
    assert "3 finished, 1 failed, 2 not begun" in capsys.readouterr().out


class Killer(Runner):
    """A runner whose processes are killed before they can write their error."""

    slots = 1

    def __init__(self, work: Work) -> None:
        self._results = work.results

    @classmethod
    def make(cls, given: Any, work: Work) -> "Killer":
        return cls(work)

    def submit(self, run: Run) -> "Future[str | None]":
        future: Future[str | None] = Future()
        future.set_result("its process ended by signal 9")
        return future


def test_a_run_whose_process_was_killed_is_in_the_report(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RUNNERS, "local", Killer)
    with pytest.raises(SystemExit):
        main(["study", "run", str(write(tmp_path, tiny)), "--results", "out"])
    errors = {path.parent.name: path.read_text() for path in Path("out/runs").glob("*/error.txt")}
    assert set(errors.values()) == {"its process ended by signal 9\n"}
    for report in ("report.md", "report.html"):
        assert "its process ended by signal 9" in (Path("out") / report).read_text()
    capsys.readouterr()
    main(["study", "status", str(tmp_path / "study.yaml"), "--results", "out"])
    assert "failed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the workers are found in /proc")
def test_ray_gives_the_same_results_though_a_worker_is_killed(done: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "dasc", "study", "run", str(done.parent / "study.yaml"), "--runner", "ray"]
    process = subprocess.Popen([*command, "--results", "ray"], env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not (workers := _at_work(Path("ray"))):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait() == 0
    assert Path("ray/results.csv").read_bytes() == (done / "results.csv").read_bytes()
    for _ in range(300):  # Ray was started for the study, and stops with it
        if not _workers():
            return
        time.sleep(0.1)
    pytest.fail(f"workers of Ray are left: {_workers()}")


def _at_work(results: Path) -> list[int]:
    """Return the workers of Ray, once a training of theirs has a checkpoint."""
    if not list(results.glob("runs/*/lightning_logs/version_0/checkpoints/last.ckpt")):
        return []
    return _workers()


def _workers() -> list[int]:
    return [pid for pid, command in _commands().items() if command.startswith("ray::_carry_out")]


def _commands() -> dict[int, str]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--jobs", "0"], "--jobs must be a whole number >= 1, got 0"),
        (["run", "--runner", "cloud"], "--runner must be one of local, ray, slurm, got 'cloud'"),
        (["run", "--address", "here:1"], "--address must be used with --runner ray, got --runner local"),
        (["run", "--runner", "ray", "--address", "here"], "--address here is no address"),
        (["run", "--runner", "ray", "--address", "127.0.0.1:9"], "no Ray answers at 127.0.0.1:9"),
        (["run", "--runner", "ray", "--gpus", "x"], "--gpus must be a number of GPUs >= 0"),
        (["run", "--results", "other"], "other has the results of the study 'other', not of 'grid'"),
        (["run", "--data.trainsize", "5"], "unknown key 'data.trainsize': did you mean data.train_size"),
        (
            ["run", "--data.batch_size", "5000"],
            "sparsity 0.3 and others: batch_size 5000 is over the 400 training images",
        ),
        (["run", "--data.dataset", "cifar10"], "sparsity 0.3 and others: "),
        (["run", "--data.train_size"], "--data.train_size has no value"),
        (["run", "train_size"], "'train_size' belongs to no option"),
        (["run", "--stages", "[{epochs: 1"], "--stages must be YAML, got '[{epochs: 1'"),
        (["status"], "nothing of this study was run in"),
        (["report", "--data.train_size", "5"], "--data.train_size is no option of dasc study report"),
        (["magnitudes", "--choose", "best"], "--choose must be one of optimal, maximal, eq3, got 'best'"),
        (["paint"], "unknown command of dasc study 'paint'"),
        ([], "COMMAND is missing"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: list[str], said: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write(tmp_path, tiny)
    Path("other").mkdir()
    Path("other/plan.json").write_text('{"study": "other", "command": "", "axes": {}, "runs": []}')
    with pytest.raises(SystemExit) as stop:
        main(["study", *words[:1], *([str(study)] if words else []), *words[1:]])
    assert stop.value.code == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith(" ".join(["dasc", "study", *(words[:1] if words != ["paint"] else [])]) + ": ")
    assert said in printed[-1]
    assert not Path("lightning_logs").exists() or not list(Path("lightning_logs").rglob("*.ckpt"))


def test_without_ray_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'dasc\[ray\]'"):
        RayRunner(None, Path())


def test_two_studies_do_not_work_in_one_folder(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock(Path("out")):
        assert is_locked(Path("out"))
        with pytest.raises(SystemExit):
            main(["study", "run", str(write(tmp_path, tiny)), "--results", "out"])
    assert "another dasc study run is at work in out" in capsys.readouterr().err
    assert not is_locked(Path("out"))
