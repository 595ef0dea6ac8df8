"""Each run has a folder of its own with any logger, and a resumed run continues in it."""

import csv
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc import loggers, runs
from dasc.checkpoint import FORMAT
from dasc.cli import main, run
from tests.support.command import dasc
from tests.support.errors import exit_message

SHORT = ("--trainer.limit_train_batches=1", "--epochs_scale=0.5")
"""3 stages of one epoch with one step."""

SUPPORT = "tests.support.folders"
CSV = "{class_path: CSVLogger, init_args: {save_dir: logs, name: csv}}"
BOARD = "{class_path: TensorBoardLogger, init_args: {save_dir: logs, name: board}}"
LOGGERS = {
    "default": (),
    "none": ("--trainer.logger=false",),
    "csv": (f"--trainer.logger={CSV}",),
    "tensorboard": (f"--trainer.logger={BOARD}",),
    "both": (f"--trainer.logger=[{CSV}, {BOARD}]",),
    "csv in the run folder": ("--trainer.logger={class_path: CSVLogger, init_args: {save_dir: .}}",),
    "remote": (f"--trainer.logger={SUPPORT}.RemoteLogger",),
    "remote with a folder": (f"--trainer.logger={{class_path: {SUPPORT}.RemoteLogger, init_args: {{folder: here}}}}",),
}
not_empty = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


def fit(config: Path, *args: str) -> None:
    main(["fit", "--config", str(config), *SHORT, *args])


def fail(config: Path, epoch: int, *args: str) -> None:
    """Stop a run in the validation of an epoch: the epochs before it have checkpoints."""
    failing = (f"--trainer.callbacks+={SUPPORT}.FailAt", f"--trainer.callbacks.epoch={epoch}")
    with pytest.raises(RuntimeError, match="stopped by the test"):
        run(["fit", "--config", str(config), *SHORT, *args, *failing])


def run_files(number: int = 0) -> dict[str, bytes]:
    """All files of a run folder but the event files."""
    folder = Path("lightning_logs", f"version_{number}")
    files = (path for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def last(number: int = 0) -> dict[str, Any]:
    path = Path("lightning_logs", f"version_{number}", "checkpoints", "last.ckpt")
    read: dict[str, Any] = torch.load(path, weights_only=True)
    return read


OURS = {"config.yaml", "stages.csv", "timing.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"}


@pytest.mark.parametrize("logger", LOGGERS.values(), ids=list(LOGGERS))
def test_a_run_resumes_in_its_folder_and_a_second_seed_has_another(logger: Sequence[str], tiny: Path) -> None:
    fail(tiny, 2, *logger)
    assert last()["dasc"]["epochs_done"] == 2
    fit(tiny, *logger, "--ckpt_path=last")
    assert last()["dasc"]["epochs_done"] == 3
    first = run_files(0)
    assert first.keys() >= OURS
    assert first["stages.csv"].count(b"\n") == first["timing.csv"].count(b"\n") == 4
    assert yaml.safe_load(first["config.yaml"])["trainer"]["callbacks"] is None
    fit(tiny, *logger, "--seed_everything=1")
    assert run_files(0) == first
    assert run_files(1).keys() == first.keys()
    assert [yaml.safe_load(run_files(k)["config.yaml"])["seed_everything"] for k in (0, 1)] == [0, 1]
    assert {path.name for path in Path().iterdir()} <= {"lightning_logs", "logs"}
    for place in (Path("lightning_logs"), *Path("logs").glob("*")):
        assert {path.name for path in place.iterdir()} == {"version_0", "version_1"}


def metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv without the times."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


@pytest.mark.parametrize("version", ["", ", version: mine"], ids=["version of the run", "version of the user"])
def test_csv_rows_of_a_resumed_run_are_those_of_an_uninterrupted_one(version: str, tiny: Path) -> None:
    name = "mine" if version else "version_0"
    logger = "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: %s, name: csv%s}}"
    callback = f"--trainer.callbacks+={SUPPORT}.FailAt"
    fit(tiny, logger % ("whole", version), callback, "--trainer.default_root_dir=whole")
    args = (logger % ("half", version), "--trainer.default_root_dir=half")
    fail(tiny, 1, *args)
    path = Path("half", "csv", name, "metrics.csv")
    assert [row["step"] for row in metrics(path) if row["global_step"]] == ["0", "1"]  # 1 is after the checkpoint
    fit(tiny, *args, callback, "--ckpt_path=last")
    assert metrics(path) == metrics(Path("whole", "csv", name, "metrics.csv"))
    assert [row["step"] for row in metrics(path) if row["global_step"]] == ["0", "1", "2"]
    assert {file.name for file in path.parent.iterdir()} == {"metrics.csv"}


def test_rows_that_an_ended_process_had_set_aside_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".metrics.csv").write_text("epoch,loss,step\n0,0.5,0\n,0.4,0\n1,0.3,8\n1,0.2,9\n,0.1,1\n")
    (tmp_path / "metrics.csv").write_text("epoch,loss,step\n0,0.5,0\n")
    loggers.start([CSVLogger(tmp_path, name="", version="")], resumed=(1, 9))
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss,step\n0,0.5,0\n,0.4,0\n1,0.3,8\n"
    assert not (tmp_path / ".metrics.csv").exists()


def test_curves_of_a_resumed_run_have_one_point_an_epoch(tiny: Path) -> None:
    logger = f"--trainer.logger={BOARD}"
    fail(tiny, 2, logger)  # after the point of step 2
    fit(tiny, logger, "--ckpt_path=last", f"--trainer.callbacks+={SUPPORT}.FailAt")
    events = EventAccumulator("logs/board/version_0")
    events.Reload()
    assert [event.step for event in events.Scalars("global_step")] == [0, 1, 2]
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2]


def test_the_number_of_a_run_is_free_in_the_folder_of_its_logger_too(tiny: Path) -> None:
    for name in ("version_0", "version_1"):
        Path("logs", "csv", name).mkdir(parents=True)
    fit(tiny, f"--trainer.logger={CSV}")
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["version_2"]
    assert Path("logs", "csv", "version_2", "metrics.csv").exists()


def test_a_csv_logger_is_not_given_the_files_of_another_run(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: logs, name: csv, version: 3}}"
    fit(tiny, logger)
    path = Path("logs", "csv", "version_3", "metrics.csv")
    before = path.read_bytes()
    said = "CSVLogger would delete metrics.csv of an earlier run in logs/csv/version_3: omit its version"
    assert said in exit_message(["fit", "--config", str(tiny), *SHORT, logger], capsys)
    assert said in exit_message(["test", "--config", str(tiny), logger, "--ckpt_path=best"], capsys)
    assert path.read_bytes() == before
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["version_0"]


def test_runs_that_start_together_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        roots = [tmp_path / str(k % 2) for k in range(40)]  # two roots, one folder for the logs
        made = list(pool.map(lambda root: runs.reserve(root, [tmp_path / "logs"]), roots))
    assert all(folder.parent.parent == root for (folder, _), root in zip(made, roots, strict=True))
    assert all(folder.name == log.name for folder, log in made)
    assert len({folder for folder, _ in made}) == len({log for _, log in made}) == 40
    assert sum(len(list((root / runs.LOGS).iterdir())) for root in set(roots)) == 40


def test_two_processes_agree_on_the_folders(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "lightning_logs" / "version_6").mkdir(parents=True)
    done = dasc(
        *("fit", "--config", tiny, *SHORT, f"--trainer.logger=[{CSV}, {BOARD}]", "--trainer.devices", 2),
        *("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks+=folders.WriteFolders"),
        f"--trainer.callbacks.folder={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    known = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert known[0] == known[1]
    assert known[0] == {
        "log_dir": "lightning_logs/version_7",
        "loggers": ["logs/csv/version_7", "logs/board/version_7"],
        "dirpaths": [str(tmp_path / "lightning_logs" / "version_7" / "checkpoints")],
    }
    assert {path.name for path in Path("lightning_logs").iterdir()} == {"version_6", "version_7"}
    assert run_files(7).keys() >= OURS


@pytest.mark.parametrize("logger", ["default", "none", "both", "remote with a folder"])
def test_a_fast_dev_run_leaves_no_files(logger: str, tiny: Path, tmp_path: Path) -> None:
    main(["fit", "--config", str(tiny), *LOGGERS[logger], "--trainer.fast_dev_run=true"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("logger", ["default", "none", "both", "csv in the run folder"])
def test_a_run_that_is_refused_in_setup_leaves_no_folder(
    logger: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fit", "--config", str(tiny), *LOGGERS[logger], f"--trainer.callbacks={SUPPORT}.FailInSetup"]
    assert "refused by the test" in exit_message(arguments, capsys)
    assert not list(tmp_path.glob("**/version_*"))
    assert not (tmp_path / "lightning_logs").exists()


@not_empty
@pytest.mark.parametrize("logger", ["default", "csv", "remote with a folder"])
def test_a_model_checkpoint_saves_into_the_run_folder(logger: str, tiny: Path, tmp_path: Path) -> None:
    callback = "{class_path: ModelCheckpoint, init_args: {filename: 'after-{epoch}', save_top_k: -1}}"
    args = (*LOGGERS[logger], f"--trainer.callbacks=[{callback}]")
    fail(tiny, 2, *args)
    fit(tiny, *args, "--ckpt_path=last")
    after = {"after-epoch=0.ckpt", "after-epoch=1.ckpt", "after-epoch=2.ckpt"}
    ours = {"last.ckpt", "best.ckpt", *(f"stage-{k}{best}.ckpt" for k in (1, 2, 3) for best in ("", "-best"))}
    assert {path.name for path in Path("lightning_logs/version_0/checkpoints").iterdir()} == ours | after
    assert len(list(tmp_path.rglob("after-*"))) == 3


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("save_last: true", "last"),
        ("save_last: link", "last"),
        ("filename: best", "best"),
        ("filename: new", "new"),
        ("filename: 'stage-{epoch}', auto_insert_metric_name: false", "stage-1"),
        ("filename: stage-2-best", "stage-2-best"),
    ],
)
def test_a_model_checkpoint_must_not_replace_checkpoints_of_dasc(
    settings: str, name: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: {{{settings}}}}}]"
    said = exit_message(["fit", "--config", str(tiny), *SHORT, callback], capsys)
    assert f"ModelCheckpoint would replace checkpoints/{name}.ckpt" in said
    assert not list(tmp_path.iterdir())
    elsewhere = callback.replace("init_args: {", "init_args: {dirpath: elsewhere, ")
    main(["plan", "--config", str(tiny), elsewhere])


def test_a_checkpoint_behind_the_last_one_starts_a_new_folder(tiny: Path) -> None:
    fit(tiny)
    before = run_files(0)
    fit(tiny, "--ckpt_path=lightning_logs/version_0/checkpoints/stage-2.ckpt")
    assert run_files(0) == before
    assert last(1)["dasc"] == last(0)["dasc"]


def test_a_checkpoint_that_is_as_far_as_the_last_one_continues_in_its_folder(tiny: Path) -> None:
    fit(tiny, "--stages=[{epochs: 2}]")
    longer = "--stages=[{epochs: 2}, {epochs: 2, sparsity: 0.5}]"
    fit(tiny, longer, "--ckpt_path=lightning_logs/version_0/checkpoints/stage-1.ckpt")
    assert last()["dasc"]["epochs_done"] == 2
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["version_0"]


def test_weights_alone_are_refused_in_one_sentence(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tiny, "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {save_weights_only: true}}]")
    (path,) = Path("lightning_logs/version_0/checkpoints").glob("epoch=*")
    assert "has no optimizer state" in exit_message(
        ["fit", "--config", str(tiny), *SHORT, f"--ckpt_path={path}"], capsys
    )


CURRENT: dict[str, Any] = {"network": {}, "data": {}, "recipe": {}, "trainer": {}, "seed": 0}
CURRENT["stages"] = [{"epochs": 9}]


def save(root: Path, name: str, epochs: int, step: int, age: int = 0, **changed: Any) -> Path:
    """Write a checkpoint of version_0 that was saved `age` seconds ago."""
    meta = CURRENT | {"format": FORMAT, "epochs_done": epochs, "stage": 0} | changed
    content = {"dasc": meta, "global_step": step, "optimizer_states": []}
    path = root / "lightning_logs" / "version_0" / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def chosen(root: Path) -> str | None:
    path, _ = runs.newest_to_continue(root, CURRENT)
    return None if path is None else path.stem


def test_last_is_the_furthest_file_that_was_saved_after_last_ckpt(tmp_path: Path) -> None:
    save(tmp_path, "last", 2, 16, age=10)
    assert chosen(tmp_path) == "last"
    save(tmp_path, "epoch=2-step=19", 2, 19, age=5)
    save(tmp_path, "epoch=2-step=22", 2, 22, age=5)
    save(tmp_path, "epoch=1-step=13", 1, 13)
    save(tmp_path, "epoch=3-step=30", 3, 30, age=20)  # of an earlier attempt
    save(tmp_path, "stage-3", 4, 32)
    save(tmp_path, "new", 4, 32)
    assert chosen(tmp_path) == "epoch=2-step=22"
    save(tmp_path, "last", 3, 24)
    assert chosen(tmp_path) == "last"


def test_last_prefers_last_ckpt_to_a_file_that_is_as_far(tmp_path: Path) -> None:
    save(tmp_path, "last", 2, 16, age=10)
    save(tmp_path, "a", 2, 16)
    assert chosen(tmp_path) == "last"


def test_last_is_a_file_of_a_callback_where_there_is_no_last_ckpt(tmp_path: Path) -> None:
    save(tmp_path, "stage-1", 3, 24)
    assert chosen(tmp_path) is None
    save(tmp_path, "epoch=0-step=5", 0, 5)
    save(tmp_path, "epoch=0-step=3", 0, 3)
    assert chosen(tmp_path) == "epoch=0-step=5"


def test_last_passes_over_files_that_cannot_be_continued(tmp_path: Path) -> None:
    save(tmp_path, "last", 2, 16, age=10)
    save(tmp_path, "epoch=2-step=19", 2, 19, seed=1)
    broken = save(tmp_path, "epoch=2-step=21", 2, 21)
    broken.write_bytes(broken.read_bytes()[:300])
    weights = save(tmp_path, "epoch=2-step=22", 2, 22)
    torch.save({"dasc": torch.load(weights)["dasc"], "global_step": 22}, weights)
    broken.with_name("epoch=2-step=23.ckpt").write_text("")
    broken.with_name(".epoch=2-step=24.ckpt").write_text("")
    broken.with_name("sharded.ckpt").mkdir()
    assert chosen(tmp_path) == "last"
    broken.with_name("last.ckpt").write_bytes(b"")
    path, reason = runs.newest_to_continue(tmp_path, CURRENT)
    assert path is None
    assert re.search("version_0: .*last.ckpt cannot be read", reason)


def damage(path: Path) -> None:
    content = path.read_bytes()
    place = len(content) // 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def test_last_passes_over_a_damaged_last_ckpt(tmp_path: Path) -> None:
    save(tmp_path, "stage-1", 1, 8, age=30)
    save(tmp_path, "epoch=1-step=11", 1, 11, age=20)
    save(tmp_path, "stage-2", 2, 16, age=20, seed=1)
    last = save(tmp_path, "last", 3, 24, age=10)
    last.write_bytes(last.read_bytes()[:300])
    path, remark = runs.newest_to_continue(tmp_path, CURRENT)
    assert path == last.with_name("epoch=1-step=11.ckpt")
    assert remark == f"{last} is damaged: {path} is used instead"
    used = save(tmp_path, "stage-2-best", 2, 16, age=20)
    save(tmp_path, "stage-2", 2, 16, age=20).write_bytes(b"")
    assert runs.newest_to_continue(tmp_path, CURRENT)[0] == used
    save(tmp_path, "last", 3, 24)
    assert runs.newest_to_continue(tmp_path, CURRENT) == (last, "")


def test_a_run_whose_last_ckpt_is_damaged_resumes_from_the_file_before_it(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny)
    whole = last()
    folder = Path("lightning_logs", "version_0", "checkpoints")
    damage(folder / "last.ckpt")
    for name in ("best", "stage-3", "stage-3-best"):
        (folder / f"{name}.ckpt").unlink()
    capsys.readouterr()
    fit(tiny, "--ckpt_path=last")
    used = folder / "stage-2-best.ckpt"  # of the same epoch as stage-2.ckpt: each stage has one epoch
    assert f"{folder / 'last.ckpt'} is damaged: {used} is used instead\n" in capsys.readouterr().out
    resumed = last(1)
    assert resumed["dasc"]["epochs_done"] == 3
    for name, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value)


def test_a_run_continues_in_the_folder_of_a_file_that_is_not_behind(tmp_path: Path) -> None:
    step = save(tmp_path, "epoch=2-step=19", 2, 19)
    folder = step.parent.parent
    assert runs.folder_to_continue(step, tmp_path) == folder  # there is no last.ckpt
    kept = save(tmp_path, "last", 2, 16)
    assert runs.folder_to_continue(step, tmp_path) == folder
    assert runs.folder_to_continue(save(tmp_path, "stage-1", 2, 16), tmp_path) == folder
    assert runs.folder_to_continue(save(tmp_path, "stage-2", 2, 15), tmp_path) is None
    assert runs.folder_to_continue(save(tmp_path, "stage-3", 1, 20), tmp_path) is None
    assert runs.folder_to_continue(kept, tmp_path) == folder
    os.chdir(folder)
    assert runs.folder_to_continue(Path("checkpoints", step.name), tmp_path) == folder


def test_a_run_of_another_root_is_continued_by_its_last_ckpt_only(tmp_path: Path) -> None:
    step, kept = save(tmp_path / "a", "stage-1", 2, 16), save(tmp_path / "a", "last", 2, 16)
    assert runs.folder_to_continue(step, tmp_path / "b") is None
    assert runs.folder_to_continue(kept, tmp_path / "b") == kept.parent.parent


def test_an_unreadable_last_ckpt_is_left_where_it_is(tmp_path: Path) -> None:
    step = save(tmp_path, "epoch=2-step=19", 2, 19)
    step.with_name("last.ckpt").write_bytes(b"")
    assert runs.folder_to_continue(step, tmp_path) is None
