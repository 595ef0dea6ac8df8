"""Two processes train one network: the same weights and masks, different augmentations, the same accuracy."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import dasc

CONFIG = Path(__file__).parents[1] / "configs" / "prune_decay.yaml"
SEEDS = (0, 1, 2)


def accuracies(root: Path, processes: int) -> list[float]:
    """Validation accuracy after the last epoch, at 60 % sparsity, of the main job for each seed."""
    for seed in SEEDS:
        done = dasc(
            *("fit", "--config", CONFIG, "--seed_everything", seed, "--trainer.default_root_dir", root / str(seed)),
            *("--trainer.accelerator", "cpu", "--trainer.devices", processes, "--trainer.enable_progress_bar", "false"),
        )
        assert done.returncode == 0, done.stderr
    tables = [(root / str(seed) / "lightning_logs/version_0/stages.csv").read_text().splitlines() for seed in SEEDS]
    rows = [dict(zip(table[0].split(","), table[-1].split(","), strict=True)) for table in tables]
    assert all(float(row["sparsity"]) == pytest.approx(0.6, abs=1e-3) for row in rows)
    return [float(row["val_accuracy_last"]) for row in rows]


@pytest.mark.slow
def test_the_main_job_reaches_its_accuracy_with_one_process_and_with_two(tmp_path: Path) -> None:
    one, two = (accuracies(tmp_path / str(processes), processes) for processes in (1, 2))
    assert sum(one) / 3 >= 0.95, one
    assert abs(sum(one) - sum(two)) / 3 <= 0.02, (one, two)


@pytest.fixture(scope="module")
def witnesses(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes saw of its batches, and its weights and masks after every epoch.

    The training starts its second process as it does for a user.
    """
    root = tmp_path_factory.mktemp("two")
    done = dasc(
        *("fit", "--config", shrinking, "--trainer.default_root_dir", root, "--trainer.devices", 2),
        *("--trainer.callbacks+=witness.Witness", "--trainer.callbacks.folder", root),
        copied=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((root / f"rank-{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_have_equal_weights_and_masks_after_every_epoch(witnesses: list[dict[str, Any]]) -> None:
    assert len(witnesses[0]["parameters"]) == 6
    assert witnesses[0]["parameters"] == witnesses[1]["parameters"]
    assert witnesses[0]["masks"] == witnesses[1]["masks"]
    assert len(set(witnesses[0]["masks"])) == 3


def test_the_masked_weights_are_zero_on_every_process(witnesses: list[dict[str, Any]]) -> None:
    for witness in witnesses:
        assert witness["masked_weights_not_zero"] == [0] * 6
        assert witness["sparsity"] == pytest.approx([0, 0, 0.3, 0.3, 0.6, 0.6], abs=1e-3)


def test_two_processes_see_different_images_and_draw_different_augmentations(witnesses: list[dict[str, Any]]) -> None:
    one, two = (witness["indices"] for witness in witnesses)
    for epoch in range(6):
        assert len(one[epoch]) == len(two[epoch]) == 8 * 16
        assert len({*one[epoch], *two[epoch]}) == 2 * 8 * 16
    one, two = (witness["operations"] for witness in witnesses)
    for epoch in range(6):
        agree = sum(a == b for a, b in zip(one[epoch], two[epoch], strict=True)) / len(one[epoch])
        assert agree == pytest.approx(1 / 14**2, abs=0.02)
