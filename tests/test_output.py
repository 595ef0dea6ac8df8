"""Standard output and standard error of the commands: nothing that a user need not act on."""

from pathlib import Path

import pytest
import yaml

from dasc.cli import main
from tests.support.command import dasc

DEMO = Path(__file__).parents[1] / "configs" / "prune_decay.yaml"
SHORT = ("--epochs_scale=0.01", "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu")
INFORMATION = {
    1: [
        "Seed set to 0",
        "GPU available: ",
        "TPU available: ",
        "`Trainer.fit` stopped: `max_epochs=4` reached.",
    ],
    2: [
        "Seed set to 0",
        "GPU available: ",
        "TPU available: ",
        "Initializing distributed: GLOBAL_RANK: 0, MEMBER: 1/2",
        "[rank: 1] Seed set to 0",
        "Initializing distributed: GLOBAL_RANK: 1, MEMBER: 2/2",
        "-----",
        "distributed_backend=gloo",
        "All distributed processes registered. Starting with 2 processes",
        "-----",
        "`Trainer.fit` stopped: `max_epochs=4` reached.",
    ],
}
"""The starts of the lines on standard error by the number of processes."""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_main_job_warns_of_nothing(processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = dasc("fit", "--config", DEMO, *SHORT, f"--trainer.devices={processes}")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == len(INFORMATION[processes]), done.stderr
    for start in INFORMATION[processes]:
        assert any(line.startswith(start) for line in lines), (start, done.stderr)
    assert "\r" not in done.stdout + done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:5]] == [
        *(f"stage {stage}/4, epoch {stage}/4" for stage in range(1, 5)),
        "Run",
    ]


@pytest.mark.slow
def test_quiet_prints_nothing_with_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bar = "--trainer.callbacks+=TQDMProgressBar"
    done = dasc("fit", "--config", DEMO, *SHORT, "--trainer.devices=2", "--quiet", bar)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(Path("lightning_logs/version_0/stages.csv").read_text().splitlines()) == 1 + 4


def test_quiet_is_no_part_of_the_config_of_a_run(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(tiny), *SHORT, "--quiet"])
    run = Path("lightning_logs/version_0")
    config = run / "config.yaml"
    assert capfd.readouterr().out == ""
    assert "quiet" not in yaml.safe_load(config.read_text())
    main(["fit", "--config", str(config), "--ckpt_path=last"])  # complete: its table is shown
    assert "lightning_logs/version_0" in capfd.readouterr().out
    main(["plan", "--config", str(config)])


def test_quiet_tells_mistakes_and_why_a_run_ended_early(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(tiny), *SHORT, "--quiet", "--trainer.max_time=00:00:00:00"])
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("Stopped by trainer.max_time after 0 of 3 epochs")
    assert len(said.err.splitlines()) == 1
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tiny), "--stages=[{epochs: 0}]", "--quiet"])
    assert "dasc fit: " in capfd.readouterr().err
