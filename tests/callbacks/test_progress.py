"""The progress of `dasc fit`: a bar on a terminal, lines elsewhere, and nothing with `--quiet`."""

import csv
import fcntl
import os
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from dasc.callbacks.remaining import RemainingTime, time_left
from dasc.cli import main
from dasc.modules import Classifier

STATES = [
    ("stage 1/3, epoch 1/6", "sparsity 0, M 14, auxiliary 2"),
    ("stage 1/3, epoch 2/6", "sparsity 0, M 14, auxiliary 2"),
    ("stage 2/3, epoch 3/6", "sparsity 0.3, M 12, auxiliary 1"),
    ("stage 2/3, epoch 4/6", "sparsity 0.3, M 8, auxiliary 1"),
    ("stage 3/3, epoch 5/6", "sparsity 0.6, M random"),
    ("stage 3/3, epoch 6/6", "sparsity 0.6, M random"),
]
STEPS = 4
CSV = "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: .}}"
WITHIN = Path("lightning_logs/version_0/checkpoints") / f"{2 * STEPS + 2}.ckpt"  # 3rd epoch, 2 of 4


@pytest.fixture(scope="module")
def config(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with progress and a checkpoint after every step."""
    given = yaml.safe_load(shrinking.read_text())
    del given["trainer"]["enable_progress_bar"]
    save = {"every_n_train_steps": 1, "save_top_k": -1, "filename": "{step}", "auto_insert_metric_name": False}
    given["trainer"] |= {
        "limit_train_batches": STEPS,
        "limit_val_batches": 1,
        "callbacks": [{"class_path": "ModelCheckpoint", "init_args": save}],
    }
    path = tmp_path_factory.mktemp("configs") / "bar.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@contextmanager
def terminal(columns: int) -> Iterator[Callable[[], str]]:
    """Make standard output a terminal; the function returns what was printed and closes it."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(reader, 4096):
                chunks.append(chunk)
        except OSError:  # the writer is closed
            pass

    thread = threading.Thread(target=read)
    thread.start()
    stream = os.fdopen(writer, "w")

    def finish() -> str:
        if not stream.closed:
            stream.close()
        thread.join()
        return b"".join(chunks).decode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        try:
            yield finish
        finally:
            finish()
            os.close(reader)


def bars(printed: str) -> dict[str, list[str]]:
    """Return what follows the training bars, by the text in front of them."""
    seen: dict[str, list[str]] = {}
    for text, state in re.findall(r"(stage [^:\r\n]*): +\d+%\|[^|]*\| ([^\r\n]*)", printed):
        seen.setdefault(text, []).append(state)
    return seen


def recorded(run: Path) -> list[tuple[str, str]]:
    """Return the loss and the accuracy of the epochs in metrics.csv, as the progress shows them."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    return [(f"loss {float(row['train/loss']):.3f}", f"{100 * float(row['val/accuracy']):.1f} %") for row in rows]


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_terminal_of_80_columns_shows_the_metrics_and_the_time_left_in_every_epoch_also_of_a_resumed_one(
    config: Path,
) -> None:
    with terminal(80) as printed:
        main(["fit", "--config", str(config), CSV])
        whole = bars(printed())
    assert list(whole) == [place for place, _ in STATES]
    for (loss, accuracy), states, epoch in zip(recorded(WITHIN.parents[1]), whole.values(), range(6), strict=True):
        assert any(f"{loss}, val accuracy {accuracy}" in state for state in states), states
        assert epoch == 5 or re.match(r"\d+ (s|min) left, loss", states[-1]), states
    with terminal(160) as printed:
        main(["fit", "--config", str(config), f"--ckpt_path={WITHIN}", "--trainer.default_root_dir=resumed"])
        resumed = bars(printed())
    assert list(resumed) == [place for place, _ in STATES[2:]]
    for (_, columns), states in zip(STATES[2:], resumed.values(), strict=True):
        assert all(f"{columns}, " in state for state in states)
        assert any(f", {STEPS}/{STEPS}, " in state for state in states)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_pipe_gets_a_line_for_every_epoch_also_of_a_resumed_one(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", str(config), CSV])
    said = capfd.readouterr()
    assert "\r" not in said.out + said.err
    lines = [line for line in said.out.splitlines() if line.startswith("stage ") and "epoch " in line]
    with (WITHIN.parents[1] / "timing.csv").open() as file:
        speeds = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    for line, (place, columns), (loss, accuracy), speed in zip(
        lines, STATES, recorded(WITHIN.parents[1]), speeds, strict=True
    ):
        assert line.startswith(f"{place}: {loss}, val accuracy {accuracy}, {columns}, ")
        shown = re.search(r", ([\d,]+) images/s", line)
        assert shown is not None
        assert float(shown.group(1).replace(",", "")) == pytest.approx(speed, abs=0.6)
        assert bool(re.search(r" images/s, \d+ (s|min) left$", line)) == ("6/6" not in place)
    main(["fit", "--config", str(config), f"--ckpt_path={WITHIN}", "--trainer.default_root_dir=resumed"])
    resumed = [line for line in capfd.readouterr().out.splitlines() if "epoch " in line and line.startswith("stage ")]
    expected = [line.partition(" images/s")[0].rpartition(", ")[0] for line in lines[2:]]
    assert [line.partition(" images/s")[0].rpartition(", ")[0] for line in resumed] == expected
    assert all(line.endswith(" left") for line in resumed[:-1])


def test_a_terminal_reads_the_loss_only_where_the_bar_is_updated(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    running_means = Classifier.running_means

    def read(module: Classifier) -> dict[str, float]:
        reads.append(module.trainer.fit_loop.epoch_loop.batch_idx + 1)
        return running_means(module)

    monkeypatch.setattr(Classifier, "running_means", read)
    with terminal(160):
        main(["fit", "--config", str(config), "--epochs_scale=0.5"])
    assert reads == [STEPS, STEPS] * 3  # 20 batches between two updates: the last batch, and the end of each epoch


def test_validate_prints_no_control_characters_into_a_pipe(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    capfd.readouterr()
    main(
        [
            "validate",
            "--config",
            str(tiny),
            "--ckpt_path=best",
            "--trainer.enable_progress_bar=true",
            "--epochs_scale=0.5",
        ]
    )
    said = capfd.readouterr()
    assert re.search(r"accuracy +[\d.]+ % \(95 % interval", said.out)
    assert "Validation " not in said.out
    assert "\r" not in said.out + said.err


def test_the_estimate_follows_the_recent_epochs() -> None:
    now = 0.0
    remaining = RemainingTime(lambda: now)
    remaining.start()
    assert remaining.seconds(10, 0) is None
    now = 30.0
    assert remaining.seconds(9.5, 0.5) == pytest.approx(9.5 * 60)  # within the first epoch
    now = 80.0
    remaining.end_epoch(1)
    assert remaining.seconds(9, 0) == pytest.approx(9 * 80)  # with its validation
    now += 10
    remaining.end_epoch(1)
    assert remaining.seconds(8, 0) == pytest.approx(8 * 10)  # without start-up
    for _ in range(5):
        now += 20
        remaining.end_epoch(1)
    assert remaining.seconds(3, 0.5) == pytest.approx(3 * 20)


def test_the_estimate_of_an_epoch_that_was_resumed_within_counts_its_share() -> None:
    now = 0.0
    remaining = RemainingTime(lambda: now)
    remaining.start()
    now = 3.0
    remaining.end_epoch(0.01)  # hardly more than its validation
    assert remaining.seconds(5, 0) is None
    now += 6
    remaining.end_epoch(0.75)
    assert remaining.seconds(5, 0) == pytest.approx(5 * 8)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s left"),
        (89, "89 s left"),
        (100, "2 min left"),
        (12 * 60, "12 min left"),
        (125 * 60, "2 h 5 min left"),
        (50 * 3600, "2 d 2 h left"),
    ],
)
def test_the_time_left_is_rounded(seconds: float, said: str) -> None:
    assert time_left(seconds) == said
