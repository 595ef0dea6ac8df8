"""The general net, and errors of the system that no config brings about."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from dasc.cli import main, run
from dasc.data.checks import check_sizes
from dasc.errors import UserError
from dasc.failures import explain, first_sentence, without_debug
from dasc.system_errors import system_error
from dasc.trainer_rules import check_packages
from tests.support.command import dasc
from tests.support.files import noise

SHORT = ("--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--epochs_scale=0.1")
LOUD = """\
from torch import nn


class Loud(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(192, num_classes)

    def forward(self, images):
        if self.training:
            raise RuntimeError("too loud. Turn it down")
        return self.layer(images.flatten(1))
"""


class Broken(nn.Module):
    """Fails in training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(192, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("too loud. Turn it down")
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def fit(config: Path, *words: str) -> list[str]:
    return ["fit", "--config", str(config), f"--model.network={__name__}.Broken", *SHORT, *words]


def ended(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert isinstance(stop.value.code, int)
    return stop.value.code, capsys.readouterr().err


def test_an_error_in_training_is_one_sentence_and_its_traceback_a_file(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = ended(fit(tiny), capsys)
    (line,) = (line for line in said.splitlines() if line.startswith("dasc"))
    assert status == 1
    assert line.startswith(
        "dasc fit: model.network must work without an error, got one in Broken.forward: RuntimeError: too loud (the "
    )
    path = Path(re.search(r"the traceback is in (\S+);", line)[1])  # type: ignore[index]
    written = path.read_text()
    assert path.parent != Path.cwd()
    assert written.startswith(f"dasc fit --config {tiny}")
    assert written.rstrip().endswith("RuntimeError: too loud. Turn it down")
    assert "Traceback" not in said
    path.unlink()


def test_debug_shows_the_traceback_in_place_of_the_file(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = ended(["--debug", *fit(tiny)], capsys)
    assert status == 1
    assert "Traceback (most recent call last)" in said
    assert "RuntimeError: too loud. Turn it down" in said
    assert "the traceback is in" not in said


def test_debug_is_in_no_config(tiny: Path, tmp_path: Path) -> None:
    main(["fit", "--config", str(tiny), *SHORT, "--debug"])
    assert "debug" not in (tmp_path / "lightning_logs" / "version_0" / "config.yaml").read_text()


def test_the_python_interface_raises_errors(tiny: Path) -> None:
    with pytest.raises(RuntimeError, match="too loud"):
        run(fit(tiny))


def test_words_without_debug() -> None:
    assert without_debug(["fit", "--debug", "--config", "a"]) == (["fit", "--config", "a"], True)
    assert without_debug(["fit", "--debugger"]) == (["fit", "--debugger"], False)


def test_two_processes_end_with_one_message(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    words = ["fit", "--config", tiny, "--model.network", "loud.Loud", *SHORT, "--trainer.devices", 2]
    result = dasc(*words)
    assert result.returncode == 1
    (said,) = (line for line in result.stderr.splitlines() if line.startswith("dasc fit: "))
    assert said.startswith("dasc fit: model.network must work without an error, got one in Loud.forward: ")


def test_further_processes_are_started_with_debug(tiny: Path, tmp_path: Path) -> None:
    result = dasc("fit", "--debug", "--config", tiny, *SHORT, "--trainer.devices", 2)
    assert result.returncode == 0, result.stderr


def test_a_bug_of_dasc_is_to_be_reported() -> None:
    with pytest.raises(TypeError) as raised:
        check_sizes({"batch_size": "many"})  # type: ignore[dict-item]
    failure = explain(raised.value)
    assert (failure.status, failure.keep_traceback) == (1, True)
    assert failure.sentence.startswith("an error inside dasc, please report it (TypeError: ")
    assert "in dasc/data/checks.py, line " in failure.sentence


def test_an_error_of_the_system_is_no_bug_of_dasc(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        raise UserError("a mistake")
    assert explain(raised.value) == ("a mistake", 2, False)
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "x").read_text()
    assert "report" not in explain(missing.value).sentence


def test_only_the_first_sentence_of_a_message_is_shown() -> None:
    assert first_sentence("It failed.\nTry it\nagain.") == "It failed"
    assert first_sentence("lr 1.5 is wrong. e.g. 0.1") == "lr 1.5 is wrong. e.g. 0.1"
    assert len(first_sentence("word " * 1000)) == 300


def test_errors_of_the_system_have_a_remedy(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/last.ckpt")
    assert system_error(full) == (
        "no space left on the disk at runs/last.ckpt: free some space, or write elsewhere with "
        "--trainer.default_root_dir"
    )
    memory = system_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"))
    assert memory is not None
    assert memory.startswith("the memory of the GPU must hold the network, a batch and the data, 2.00 GiB more were")
    assert "--data.batch_size" in memory
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert str(system_error(raised.value)).startswith("the memory of this machine must hold")
    with pytest.raises(MemoryError) as numpys:
        noise(2**30, 2**20)
    assert str(system_error(numpys.value)).startswith("the memory of this machine must hold")
    assert system_error(RuntimeError("another")) is None
    with pytest.raises(PermissionError) as denied:
        raise PermissionError(errno.EACCES, "Permission denied", "a.txt")
    assert system_error(denied.value) == "a.txt cannot be used: Permission denied"


def test_a_callback_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages({"callbacks": ["DeviceStatsMonitor"]})
    monkeypatch.setattr("dasc.trainer_rules.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"callbacks DeviceStatsMonitor needs the package psutil.*pip install psutil"):
        check_packages({"callbacks": ["DeviceStatsMonitor"]})


def test_ctrl_c_while_a_study_is_planned_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dasc.study.entry.read_study", interrupt)
    assert ended(["study", "run", "study.yaml"], capsys) == (
        130,
        "dasc study run: interrupted: the same command resumes the study\n",
    )


def heed_ctrl_c() -> None:
    """Undo that pytest's worker processes ignore Ctrl-C, which their children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are forked on Linux only")
def test_ctrl_c_while_workers_start_is_one_line(tiny: Path, tmp_path: Path) -> None:
    study = {"name": "s", "configs": [str(tiny)], "axes": {"seed": {"seed_everything": [0, 1]}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "dasc", "study", "run", "study.yaml", "--results", "out"]
    with Path("said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True, preexec_fn=heed_ctrl_c)
        while "0 of them are finished" not in Path("said").read_text():
            assert process.poll() is None, Path("said").read_text()
            time.sleep(0.05)
        time.sleep(0.5)  # the workers' server is importing
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    time.sleep(0.5)
    lines = Path("said").read_text().splitlines()
    assert lines[-1] == "Stopped: the same command resumes the study"
    assert not any("Traceback" in line or "KeyboardInterrupt" in line for line in lines), lines
