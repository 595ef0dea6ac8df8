"""What a run leaves behind: the files of one `dasc fit`, looked at from many sides."""

import csv
import json
import platform
import time
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc import checkpoint
from dasc.callbacks.report import show
from dasc.cli import main
from dasc.data import stratified_split

EPOCHS = 6


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        main(["fit", "--config", str(tiny), f"--trainer.default_root_dir={root}"])
    return root / "lightning_logs" / "version_0"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def zeros(path: Path) -> float:
    """The share of zeros among the weights of all convolutions and linear layers, counted in the file itself."""
    state = torch.load(path, weights_only=True)["state_dict"]
    weights = [value for key, value in state.items() if key.startswith("network.") and value.dim() in (2, 4)]
    count: int = sum(w.numel() for w in weights)
    return sum(int((w == 0).sum()) for w in weights) / count


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_run_leaves_these_files(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "stages.csv", "timing.csv", "checkpoints"} <= names
    assert sum(name.startswith("events.out.tfevents") for name in names) == 1
    stages = {f"stage-{k}{best}.ckpt" for k in (1, 2, 3) for best in ("", "-best")}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt", *stages}


def test_the_sparsity_in_stages_csv_is_the_zeros_in_the_checkpoint(run: Path) -> None:
    table = rows(run / "stages.csv")
    assert [float(row["sparsity_asked"]) for row in table] == [0.0, 0.3, 0.6]
    for row in table:
        counted = zeros(run / "checkpoints" / f"stage-{row['stage']}.ckpt")
        assert float(row["sparsity"]) == pytest.approx(counted, abs=1e-6)
        assert counted == pytest.approx(float(row["sparsity_asked"]), abs=1e-3)


def test_stages_csv_counts_what_is_not_zero(run: Path) -> None:
    for row in rows(run / "stages.csv"):
        state = torch.load(run / "checkpoints" / f"stage-{row['stage']}.ckpt", weights_only=True)["state_dict"]
        parameters = {k: v for k, v in state.items() if k.startswith("network.") and k.endswith((".weight", ".bias"))}
        assert int(row["parameters"]) == sum(v.numel() for v in parameters.values())
        pruned = sum(int((v == 0).sum()) for v in parameters.values() if v.dim() > 1)
        assert int(row["nonzero_parameters"]) == int(row["parameters"]) - pruned


def test_the_curves_have_one_point_an_epoch(run: Path) -> None:
    curves = scalars(run)
    for tag in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "sparsity", "images_per_second"):
        assert [step for step, _ in curves[tag]] == list(range(EPOCHS)), tag
    assert [value for _, value in curves["sparsity"]] == pytest.approx([0, 0, 0.3, 0.3, 0.6, 0.6], abs=1e-3)
    # the magnitude is drawn for each image in the last stage: there is no number to show
    assert curves["magnitude"] == [(0, 14), (1, 14), (2, 12), (3, 8)]
    # two epochs of 8 steps: 3 steps of warm-up, the first at a quarter of the peak
    assert [value for _, value in curves["lr"]][::2] == pytest.approx([0.1 / 4] * 3)


def test_the_saved_config_is_resolved_and_runs_again_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["stages"][1] == {"epochs": 2, "sparsity": 0.3, "magnitude": [12, 8]}
    assert config["model"]["init_args"]["optimizer"]["init_args"]["momentum"] == 0.9
    assert config["ckpt_path"] is None
    main(["fit", "--config", str(run / "config.yaml"), f"--trainer.default_root_dir={tmp_path}"])
    again = tmp_path / "lightning_logs" / "version_0"
    assert (again / "stages.csv").read_bytes() == (run / "stages.csv").read_bytes()
    assert_equal_states(again / "checkpoints" / "last.ckpt", run / "checkpoints" / "last.ckpt")


def assert_equal_states(one: Path, other: Path) -> None:
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_best_is_the_best_epoch_of_the_last_stage(run: Path) -> None:
    accuracy = [value for _, value in scalars(run)["val/accuracy"]]
    for k in (1, 2, 3):
        of_stage = accuracy[2 * k - 2 : 2 * k]
        meta = checkpoint.read(run / "checkpoints" / f"stage-{k}-best.ckpt")["dasc"]
        assert meta["epoch"] == 2 * k - 2 + of_stage.index(max(of_stage))
        row = rows(run / "stages.csv")[k - 1]
        assert float(row["val_accuracy_best"]) == pytest.approx(max(of_stage), abs=1e-6)
        assert float(row["val_accuracy_last"]) == pytest.approx(of_stage[-1], abs=1e-6)
    assert_equal_states(run / "checkpoints" / "best.ckpt", run / "checkpoints" / "stage-3-best.ckpt")


class Clock(Callback):
    """Waits in batches and in validation; keeps the shortest and the longest time that an epoch's batches can take."""

    shortest: ClassVar[list[float]] = []
    longest: ClassVar[list[float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._first = time.perf_counter()
        time.sleep(0.05)

    def on_train_batch_end(self, *_: Any) -> None:
        self._last = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.shortest.append(self._last - self._first)
            self.longest.append(time.perf_counter() - self._before)
            time.sleep(0.5)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = time.perf_counter()


def test_timing_csv_has_the_time_of_each_epochs_batches_without_validation(tiny: Path, tmp_path: Path) -> None:
    Clock.shortest, Clock.longest = [], []
    short = ("--epochs_scale=0.5", "--trainer.limit_train_batches=3", "--trainer.num_sanity_val_steps=0")
    main(["fit", "--config", str(tiny), *short, f"--trainer.callbacks+={__name__}.Clock"])
    table = rows(tmp_path / "lightning_logs" / "version_0" / "timing.csv")
    assert [(int(row["epoch"]), int(row["stage"])) for row in table] == [(1, 1), (2, 2), (3, 3)]
    for row, shortest, longest in zip(table, Clock.shortest, Clock.longest, strict=True):
        assert shortest > 0.15
        assert shortest - 0.05 - 0.001 <= float(row["train_seconds"]) <= longest + 0.001
        images = float(row["train_seconds"]) * float(row["images_per_second"])
        assert images == pytest.approx(3 * 128, rel=0.02)


def test_timing_csv_names_the_machine_and_the_versions(run: Path) -> None:
    table = rows(run / "timing.csv")
    assert [int(row["epoch"]) for row in table] == list(range(1, EPOCHS + 1))
    expected = {name: import_module(name).__version__ for name in ("dasc", "torch", "lightning")}
    expected |= {"processes": "1", "device": platform.machine(), "threads": "1", "precision": "32-true"}
    for row in table:
        assert {name: row[name] for name in expected} == expected


def test_a_finished_run_is_shown_and_not_trained_again(
    run: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    main(["fit", "--config", str(tiny), f"--trainer.default_root_dir={run.parent.parent}", "--ckpt_path=last"])
    shown = capsys.readouterr().out
    assert "has all 6 epochs" in shown
    assert "60.0%" in shown
    assert "tensorboard --logdir" in shown
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not (run.parent / "version_1").exists()


def test_longer_tables_continue_with_the_learning_rate_of_their_own_rows(run: Path, tiny: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer.yaml"
    longer.write_text("stages: [{epochs: 2, magnitude: 14}, {epochs: 2, sparsity: 0.3, magnitude: 9}]\n")
    source = run / "checkpoints" / "stage-1.ckpt"
    command = ["fit", "--config", str(tiny), "--config", str(longer)]
    main([*command, f"--trainer.default_root_dir={tmp_path / 'a'}", f"--ckpt_path={source}"])
    main([*command, f"--trainer.default_root_dir={tmp_path / 'b'}"])
    continued, unbroken = (tmp_path / name / "lightning_logs" / "version_0" for name in "ab")
    assert_equal_states(continued / "checkpoints" / "last.ckpt", unbroken / "checkpoints" / "last.ckpt")
    assert (continued / "stages.csv").read_bytes() == (unbroken / "stages.csv").read_bytes()


def test_validate_reports_what_training_reported(run: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = run.parent.parent
    best = checkpoint.read(run / "checkpoints" / "best.ckpt")["dasc"]["epoch"]
    for name, epoch in (("last", EPOCHS - 1), ("best", best)):
        main(["validate", "--config", str(tiny), f"--trainer.default_root_dir={root}", f"--ckpt_path={name}"])
        assert f"  accuracy  {scalars(run)['val/accuracy'][epoch][1]:.2%}".replace("%", " %") in capsys.readouterr().out


def test_predictions_agree_with_the_tested_accuracy(run: Path, tiny: Path) -> None:
    root = run.parent.parent
    main(["test", "--config", str(tiny), f"--trainer.default_root_dir={root}", "--ckpt_path=best"])
    tested = json.loads((run / "test.json").read_text())[-1]["metrics"]["accuracy"]
    main(["predict", "--config", str(tiny), f"--trainer.default_root_dir={root}", "--ckpt_path=best"])
    table = rows(root / "predictions.csv")
    targets = stratified_split(torch.from_numpy(load_digits().target), 0.2, seed=0)[1]
    targets = load_digits().target[targets].tolist()
    assert [int(row["index"]) for row in table] == list(range(len(targets)))
    hits = sum(int(row["class"]) == target for row, target in zip(table, targets, strict=True))
    assert hits / len(targets) == pytest.approx(tested, abs=1e-6)
    assert all(0.1 <= float(row["probability"]) <= 1 for row in table)
    assert not (root / "lightning_logs" / "version_1").exists()


def test_load_network_gives_the_pruned_network(run: Path) -> None:
    loaded = checkpoint.load_network(run / "checkpoints" / "best.ckpt")
    assert loaded.meta["classes"] == [str(digit) for digit in range(10)]
    weights: dict[str, Any] = dict(loaded.network.named_parameters())
    assert all(bool((weights[name][~mask] == 0).all()) for name, mask in loaded.masks.items())
    assert sum(int((~mask).sum()) for mask in loaded.masks.values()) > 0


def test_the_table_of_a_large_network_fits_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = {"stage": 1, "epochs": 200, "sparsity": 0.6, "magnitude": "[14, 4]", "nonzero_macs": 40_551_040}
    show([row | {"val_accuracy_last": 0.821, "val_accuracy_best": 0.8246, "nonzero_parameters": 269_722}], tmp_path)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(cell in shown for cell in ("60.0%", "[14, 4]", "82.10%", "82.46%", "269,722", "40.55M"))


def test_an_epoch_without_validation_has_no_accuracy_of_another(tiny: Path, tmp_path: Path) -> None:
    stages = "--stages=[{epochs: 2}, {epochs: 1, sparsity: 0.2}, {epochs: 1, sparsity: 0.4}]"
    main(["fit", "--config", str(tiny), stages, "--trainer.check_val_every_n_epoch=2"])
    table = rows(tmp_path / "lightning_logs" / "version_0" / "stages.csv")
    accuracies = [value for _, value in scalars(tmp_path / "lightning_logs" / "version_0")["val/accuracy"]]
    assert [row["val_accuracy_last"] for row in table] == [f"{accuracies[0]:.6g}", "", f"{accuracies[1]:.6g}"]
    assert [row["best_epoch"] for row in table] == ["2", "", "4"]


def test_a_network_of_ones_own_needs_no_settings(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_package.py").write_text(
        "from torch import nn\n\n\n"
        "class MyNetwork(nn.Sequential):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, num_classes))\n"
        "        self.num_classes = num_classes\n"
    )
    config = tmp_path / "own.yaml"
    own = "network: {class_path: my_package.MyNetwork}"
    config.write_text(tiny.read_text().replace("network: {class_path: CifarResNet, init_args: {depth: 8}}", own))
    monkeypatch.syspath_prepend(tmp_path)
    main(["fit", "--config", str(config), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    main(["test", "--config", str(config), "--ckpt_path=best", "--trainer.enable_progress_bar=false"])
    assert "\n  accuracy " in capsys.readouterr().out
    loaded = checkpoint.load_network("lightning_logs/version_0/checkpoints/best.ckpt", trust=("my_package",))
    assert loaded.network.get_parameter("2.weight").shape == (10, 48)
