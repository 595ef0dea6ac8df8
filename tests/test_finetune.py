"""A pretrained network is fine-tuned; afterwards its weights are never needed again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.data import ImageData
from dasc.modules import TeacherConfig, load_teacher
from tests.support.pretrained import cached, serve

CHOICE = models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
NETWORK = ("--model.network=TorchvisionNetwork", "--model.network.name=shufflenet_v2_x0_5")
QUICK = ("--trainer.limit_train_batches=1", "--epochs_scale=0.5")


def saved(name: str) -> dict[str, Any]:
    path = Path("lightning_logs", "version_0", "checkpoints", f"{name}.ckpt")
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_a_finished_run_needs_no_weights(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = models.shufflenet_v2_x0_5(weights=None).state_dict()
    served = serve(monkeypatch, CHOICE, state, tmp_path / "served")
    args = ["--config", str(tiny), *NETWORK, "--model.network.weights=DEFAULT", *QUICK]
    main(["plan", *args])
    assert cached(tmp_path / "served") == [], "plan downloads nothing"
    main(["fit", *args, "--model.optimizer.lr=0"])
    trained = saved("stage-1")
    stem = "conv1.0.weight"
    assert torch.equal(trained["state_dict"][f"network.model.{stem}"], state[stem])
    assert trained["dasc"]["mean"] == [0.485, 0.456, 0.406]
    assert trained["dasc"]["std"] == [0.229, 0.224, 0.225]
    assert trained["dasc"]["interpolation"] == "bilinear"

    for path in (served, *cached(tmp_path / "served")):
        path.unlink()
    main(["fit", *args, "--model.optimizer.lr=0", "--ckpt_path=lightning_logs/version_0/checkpoints/stage-1.ckpt"])
    for command in ("validate", "test", "predict"):
        main([command, *args, "--ckpt_path=best"])
    best = Path("lightning_logs", "version_0", "checkpoints", "best.ckpt")
    main(["fit", *args, "--init_from.path", str(best), "--trainer.default_root_dir=another"])
    assert load_teacher(TeacherConfig(path=str(best)), ImageData()).logits(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    assert load_network(best).meta["mean"] == trained["dasc"]["mean"]
    assert cached(tmp_path / "served") == []
