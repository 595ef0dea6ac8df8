"""`--model.criterion`: the class of a pruning criterion by its name, in configs and on the command line."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from dasc.cli import main
from tests.support.command import dasc

SHORT = ("--epochs_scale=0.5", "--trainer.limit_train_batches=2", "--trainer.logger=false")


def fit(config: Path, root: Path, *args: str) -> Path:
    main(["fit", "--config", str(config), f"--trainer.default_root_dir={root}", *SHORT, *args])
    return root / "lightning_logs" / "version_0"


def saved(run: Path, name: str = "last") -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return checkpoint


def masks(run: Path, name: str = "last") -> dict[str, Tensor]:
    return {key: value for key, value in saved(run, name)["state_dict"].items() if key.startswith("masks.")}


def sparsity(layers: dict[str, Tensor]) -> float:
    return sum(int((~mask).sum()) for mask in layers.values()) / sum(mask.numel() for mask in layers.values())


@pytest.mark.parametrize("name", ["LAMP", "Random"])
def test_a_run_is_pruned_by_the_criterion_and_its_config_can_be_read_again(
    name: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tiny, tmp_path, "--model.criterion", name)
    for stage, target in ((1, 0.0), (2, 0.3), (3, 0.6)):
        assert sparsity(masks(run, f"stage-{stage}")) == pytest.approx(target, abs=1e-4)
    shares = [float((~mask).float().mean()) for mask in masks(run).values()]
    assert (max(shares) - min(shares) < 0.01) == (name == "Random")
    state = saved(run)["state_dict"]
    assert all(not state[key.replace("masks.", "network.")][~mask].any() for key, mask in masks(run).items())
    assert saved(run)["dasc"]["recipe"]["criterion"] == {"class": name}
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["model"]["init_args"]["criterion"]["class_path"] == f"dasc.pruning.{name}"
    capsys.readouterr()
    main(["plan", "--config", str(run / "config.yaml"), "--ckpt_path=last"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"PrunedClassifier, pruned with criterion {name}" in said
    assert ("with criterion LAMP, MACs depend on the weights" in said) == (name == "LAMP")


def test_two_processes_draw_the_masks_of_one(tiny: Path, tmp_path: Path) -> None:
    one = fit(tiny, tmp_path / "one", "--model.criterion=Random")
    root = tmp_path / "two"
    more = ("--model.criterion=Random", "--trainer.devices=2", f"--trainer.default_root_dir={root}")
    done = dasc("fit", "--config", tiny, *SHORT, *more)
    assert done.returncode == 0, done.stderr
    for stage in ("stage-1", "stage-2", "stage-3"):
        two = masks(root / "lightning_logs" / "version_0", stage)
        assert all(torch.equal(mask, two[key]) for key, mask in masks(one, stage).items())


@pytest.mark.parametrize("name", ["stage-1", "stage-2"])
def test_a_resumed_run_draws_as_an_uninterrupted_one(name: str, tiny: Path, tmp_path: Path) -> None:
    whole = fit(tiny, tmp_path / "whole", "--model.criterion=Random")
    start = f"--ckpt_path={whole}/checkpoints/{name}.ckpt"
    resumed = fit(tiny, tmp_path / "resumed", "--model.criterion=Random", start)
    one, other = saved(whole)["state_dict"], saved(resumed)["state_dict"]
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert sparsity(masks(resumed)) == pytest.approx(0.6, abs=1e-4)


def test_a_run_of_another_criterion_is_not_continued(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tiny, tmp_path)
    start = f"--ckpt_path={run}/checkpoints/stage-1.ckpt"
    main(["plan", "--config", str(tiny), *SHORT, start, "--model.criterion=L1"])
    refused = sentence(["plan", "--config", str(tiny), *SHORT, start, "--model.criterion=Random"], capsys)
    assert "recipe.criterion is {'class': 'Random'}, recorded is None" in refused


def sentence(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dasc")]
    return line


MISTAKES = {
    "--model.criterion=LAMPP": "unknown class 'LAMPP' for model.criterion: did you mean LAMP?",
    "--model.criterion=LAMP --model.scope=global": "scope must not be set together with criterion, got scope global",
    "--model.criterion=Criterion": "model.criterion must be the class of a pruning criterion, got 'Criterion'",
    "--model.criterion=L1 --model.criterion.scope=all": "model.criterion.scope must be layer or global, got 'all'",
}


@pytest.mark.parametrize(("wrong", "said"), MISTAKES.items())
def test_a_mistake_is_one_sentence(wrong: str, said: str, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in sentence(["plan", "--config", str(tiny), *wrong.split()], capsys)


OWN = """\
from dasc.pruning import Criterion, prune_lowest


class Position(Criterion):
    \"\"\"Prunes the last layers' last weights first.\"\"\"

    layerwise = False

    def __init__(self, last: bool = True) -> None:
        self.last = last

    def masks(self, weights, current, target, generator):
        scores = {name: weight.new_ones(weight.shape).cumsum(0) for name, weight in weights.items()}
        scores = {name: -score + score.max() if self.last else score for name, score in scores.items()}
        return prune_lowest(scores, current, target, self.layerwise)
"""


def test_a_criterion_of_ones_own_needs_one_class(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "position.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    run = fit(tiny, tmp_path, "--model.criterion=position.Position", "--model.criterion.last=false")
    assert sparsity(masks(run)) == pytest.approx(0.6, abs=1e-4)
    assert saved(run)["dasc"]["recipe"]["criterion"] == {"class": "Position", "last": False}
    capsys.readouterr()
    main(["plan", "--config", str(run / "config.yaml")])
    assert re.search(r"pruned with\s+criterion Position \(last False\)", capsys.readouterr().out)
