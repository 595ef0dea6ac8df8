from pathlib import Path

import pytest
import yaml

from dasc.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(CONFIGS.glob("*.yaml"))
OVERLAYS = sorted(set(CONFIGS.rglob("*.yaml")) - set(EXPERIMENTS))


def test_there_are_configs() -> None:
    assert CONFIGS / "prune_decay.yaml" in EXPERIMENTS


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_runs_through_all_its_stages(path: Path, tmp_path: Path) -> None:
    stages = yaml.safe_load(path.read_text())["stages"]
    main(["fit", "--config", str(path), "--config", str(CONFIGS / "scale" / "smoke.yaml"), *_quick(tmp_path)])
    written = (tmp_path / "lightning_logs" / "version_0" / "stages.csv").read_text().splitlines()
    assert len(written) == 1 + len(stages)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: f"{path.parent.stem}-{path.stem}")
def test_every_overlay_runs_on_the_main_job(path: Path, tmp_path: Path) -> None:
    base = str(CONFIGS / "prune_decay.yaml")
    main(["fit", "--config", base, "--config", str(path), *_quick(tmp_path), "--epochs_scale=0.05"])
    assert (tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt").exists()


def _quick(root: Path) -> list[str]:
    return [
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.limit_train_batches=2",
        f"--trainer.default_root_dir={root}",
    ]
