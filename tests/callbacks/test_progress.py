"""The progress bar of `dasc fit`."""

import re
from pathlib import Path

import pytest
import yaml

from dasc.cli import main

TEXTS = [
    "Stage 1/3 | sparsity 0 | M 14 | auxiliary 2 | epoch 1/6",
    "Stage 1/3 | sparsity 0 | M 14 | auxiliary 2 | epoch 2/6",
    "Stage 2/3 | sparsity 0.3 | M 12 | auxiliary 1 | epoch 3/6",
    "Stage 2/3 | sparsity 0.3 | M 8 | auxiliary 1 | epoch 4/6",
    "Stage 3/3 | sparsity 0.6 | M random | epoch 5/6",
    "Stage 3/3 | sparsity 0.6 | M random | epoch 6/6",
]
STEPS = 4


@pytest.fixture(scope="module")
def config(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with a progress bar and a checkpoint after every step."""
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


def bars(printed: str) -> dict[str, list[int]]:
    """Return the texts in front of the training bars, in order, with the batches that each has counted."""
    seen: dict[str, list[int]] = {}
    for text, count in re.findall(rf"(Stage [^:\r\n]*): +\d+%\|[^|]*\| (\d+)/{STEPS}", printed):
        seen.setdefault(text, []).append(int(count))
    return seen


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_the_bar_names_stage_sparsity_blocks_and_magnitude_in_every_epoch_also_of_a_resumed_one(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", str(config)])
    whole = bars("".join(capsys.readouterr()))
    assert list(whole) == TEXTS
    assert all(max(counts) == STEPS for counts in whole.values())
    within = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / f"{2 * STEPS + 2}.ckpt"  # 3rd epoch, 2 of 4
    main(["fit", "--config", str(config), f"--ckpt_path={within}", "--trainer.default_root_dir=resumed"])
    resumed = bars("".join(capsys.readouterr()))
    assert list(resumed) == TEXTS[2:]
    assert all(max(counts) == STEPS for counts in resumed.values())
