"""Training in float16 with a GradScaler, on the CPU.

Lightning replaces `--trainer.precision 16-mixed` by bf16-mixed on the CPU; its plugin, given as such, trains there.
"""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dasc.checkpoint import load_network
from dasc.cli import main

STEPS = 2


def scaled(tiny: Path, path: Path, scale: float) -> Path:
    """Write a config with a GradScaler that starts at `scale`."""
    config = yaml.safe_load(tiny.read_text())
    scaler = {"class_path": "torch.amp.GradScaler", "init_args": {"device": "cpu", "init_scale": scale}}
    settings = {"precision": "16-mixed", "device": "cpu", "scaler": scaler}
    config["trainer"] |= {
        "plugins": [{"class_path": "lightning.pytorch.plugins.MixedPrecision", "init_args": settings}],
        "limit_train_batches": STEPS,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def last(root: Path) -> dict[str, Any]:
    path = root / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    read: dict[str, Any] = torch.load(path, weights_only=True)
    return read


@pytest.mark.filterwarnings("ignore:You passed `Trainer.accelerator='cpu', precision='16-mixed'")
def test_on_the_cpu_16_mixed_is_bf16_mixed(tiny: Path, tmp_path: Path) -> None:
    for precision in ("16-mixed", "bf16-mixed"):
        options = (f"--trainer.precision={precision}", f"--trainer.default_root_dir={precision}")
        main(["fit", "--config", str(tiny), *options, "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    states = [last(tmp_path / precision)["state_dict"] for precision in ("16-mixed", "bf16-mixed")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    with (tmp_path / "16-mixed" / "lightning_logs" / "version_0" / "timing.csv").open() as file:
        assert {row["precision"] for row in csv.DictReader(file)} == {"bf16-mixed"}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_masks_hold_and_the_scale_is_resumed_where_steps_overflow(tiny: Path, tmp_path: Path) -> None:
    config = scaled(tiny, tmp_path / "scaled.yaml", 2.0**22)
    main(["fit", "--config", str(config), "--trainer.default_root_dir=whole"])
    checkpoints = Path("whole/lightning_logs/version_0/checkpoints")
    main(["fit", "--config", str(config), f"--ckpt_path={checkpoints}/stage-1.ckpt", "--trainer.default_root_dir=b"])
    whole, resumed = last(tmp_path / "whole"), last(tmp_path / "b")
    skipped = math.log2(2.0**22 / whole["MixedPrecision"]["scale"])  # each overflow halves the scale
    assert 0 < skipped < STEPS * 6
    assert skipped == int(skipped)
    first = torch.load(checkpoints / "stage-1.ckpt", weights_only=True)
    assert not torch.equal(whole["state_dict"]["network.conv1.weight"], first["state_dict"]["network.conv1.weight"])
    assert resumed["MixedPrecision"] == whole["MixedPrecision"]
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in whole["state_dict"].items())
    for name, parts in [("stage-2", 0.3), ("stage-3", 0.6)]:
        loaded = load_network(checkpoints / f"{name}.ckpt")
        weights = [loaded.network.get_parameter(key) for key in loaded.masks]
        zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
        assert zeros == pytest.approx(parts, abs=1e-3)
        for key, mask in loaded.masks.items():
            assert not loaded.network.get_parameter(key)[~mask].any()
