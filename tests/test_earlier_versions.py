"""Files of an earlier version, kept in tests/fixtures/earlier, are still read: config, checkpoint and study folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dasc import checkpoint
from dasc.cli import main

EARLIER = Path(__file__).parent / "fixtures" / "earlier"
LAST = EARLIER / "last.ckpt"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_config_of_a_run_gives_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", str(EARLIER / "config.yaml")])
    ours, theirs = (checkpoint.read(path) for path in ("lightning_logs/version_0/checkpoints/last.ckpt", LAST))
    changing = ("version", "performance", "checksum")
    for read in (ours, theirs):
        for name in changing:
            read["dasc"].pop(name, None)
    assert ours["dasc"].keys() >= theirs["dasc"].keys()
    assert {key: ours["dasc"][key] for key in theirs["dasc"]} == theirs["dasc"]
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    # not bit for bit: the file may come from another processor
    assert all(ours["state_dict"][key].shape == value.shape for key, value in theirs["state_dict"].items())


def test_a_network_is_loaded_with_its_masks() -> None:
    network, masks, recorded = checkpoint.load_network(LAST)
    assert recorded["version"] == "0.1.0"
    assert "conv1.weight" not in masks
    off, weights = sum(int((~mask).sum()) for mask in masks.values()), sum(mask.numel() for mask in masks.values())
    assert off / weights == pytest.approx(0.5, abs=1e-3)
    state = network.state_dict()
    assert all(bool((state[name][~mask] == 0).all()) for name, mask in masks.items())


def test_a_run_is_tested_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(EARLIER / "short.yaml")]
    main(["test", *config, f"--ckpt_path={LAST}"])
    assert "\n  accuracy " in capsys.readouterr().out
    rows = "[{epochs: 1, magnitude: [14, 12], auxiliary: 1}, {epochs: 1, sparsity: 0.5, magnitude: 4, lr: 0.05}"
    main(["fit", *config, f"--ckpt_path={LAST}", f"--stages={rows}, {{epochs: 1, sparsity: 0.6}}]"])
    recorded = checkpoint.read("lightning_logs/version_0/checkpoints/last.ckpt")["dasc"]
    assert recorded["epochs_done"] == 3
    assert [row["magnitude"] for row in recorded["rows"]] == ["[14, 12]", "4", "none"]
    assert recorded["rows"][:2] == checkpoint.read(LAST)["dasc"]["rows"]
    moved = torch.load(LAST, weights_only=True)["state_dict"]
    masks = checkpoint.load_network("lightning_logs/version_0/checkpoints/last.ckpt").masks
    for name, mask in masks.items():
        assert not bool((mask & ~moved[f"masks.{name}"]).any())


def test_the_runs_of_a_study_have_the_same_ids_and_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("study.yaml", "short.yaml"):
        shutil.copy(EARLIER / name, name)
    results = Path("lightning_logs/studies/before")
    shutil.copytree(EARLIER / "study", results)
    before = (results / "results.csv").read_bytes()
    main(["study", "run", "study.yaml"])
    assert "2 trainings, 2 of them are finished" in capsys.readouterr().out
    planned = json.loads((results / "plan.json").read_text())
    recorded = json.loads((EARLIER / "study" / "plan.json").read_text())
    assert [run["id"] for run in planned["runs"]] == [job["id"] for job in recorded["jobs"]]
    assert sorted(path.name for path in (results / "runs").iterdir()) == ["13860d83d774", "16389d042043"]
    rows, new = (text.decode().splitlines() for text in (before, (results / "results.csv").read_bytes()))
    assert new == [f"{rows[0]},test_images", *(f"{row}," for row in rows[1:])]
