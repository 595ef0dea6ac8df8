"""Scoring uses what the checkpoint records, on images that it was not trained on."""

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dasc import checkpoint
from dasc.cli import main
from dasc.config import ConfigReader
from dasc.data import ImageData
from dasc.metrics import proportion_interval
from dasc.scores import Scores, add_record, record
from tests.support.errors import exit_message
from tests.support.files import make_folder, noise, save

BEST = "lightning_logs/version_0/checkpoints/best.ckpt"
SCORING = ("validate", "test", "predict")

CONFIG = """\
stages: [{epochs: 1, magnitude: none}]
model: {class_path: Classifier, init_args: {network: {class_path: CifarResNet, init_args: {depth: 8}}}}
data: {class_path: ImageData, init_args: {dataset: folder, root: pets, batch_size: 8, num_workers: 0}}
trainer: {accelerator: cpu, devices: 1, enable_progress_bar: false}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def fit(config: Path) -> Callable[..., None]:
    """Train on photos of cats and dogs of different brightness."""

    def run(*words: str, parts: tuple[str, ...] = ("train", "test"), count: int = 30) -> None:
        if not Path("pets").exists():
            make_folder(Path("pets"), {part: {"cat": count, "dog": count} for part in parts})
        main(["fit", "--config", str(config), *words])

    return run


def predictions(*words: str) -> list[dict[str, str]]:
    main(["predict", "--config", "config.yaml", *words])
    with Path("predictions.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("on_device", ["true", "false"])
def test_a_photo_keeps_its_class_when_the_training_images_change_or_are_removed(
    on_device: str, fit: Callable[..., None]
) -> None:
    where = f"--data.on_device={on_device}"
    fit(where)
    before = predictions(where, "--ckpt_path=best")
    for path in sorted(Path("pets/train").rglob("*.png"))[::2]:
        save(np.full((16, 16, 3), 255, dtype=np.uint8), path)
    assert predictions(where, "--ckpt_path=best") == before
    shutil.rmtree("pets/train/dog")
    assert predictions(where, f"--ckpt_path={BEST}") == before
    shutil.rmtree("pets/train")
    assert predictions(where, "--ckpt_path=best") == before


def test_a_crop_with_a_margin_does_not_depend_on_where_the_images_are_kept(fit: Callable[..., None]) -> None:
    fit("--data.on_device=false", "--data.image_size=8")  # crop: resize, evaluated at 256/224 of the size
    before = predictions("--ckpt_path=best", "--data.on_device=false")
    shutil.rmtree("pets/train")
    assert predictions("--ckpt_path=best", "--data.on_device=true") == before


@pytest.mark.parametrize("command", SCORING)
def test_the_image_size_is_that_of_the_checkpoint(
    command: str, fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit("--data.image_size=8", parts=("train", "val", "test"))
    words = [command, "--config", "config.yaml", "--ckpt_path=best"]
    main(words)
    assert exit_message([*words, "--data.image_size=16"], capsys) == (
        f"dasc {command}: data.image_size must be 8, the image size of the checkpoint, got 16: leave it out"
    )


def test_another_image_size_is_refused_under_a_plain_trainer(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    from dasc.errors import UserError
    from tests.support.training import bare_trainer

    fit("--data.image_size=8")
    module, data = ConfigReader().make(ConfigReader().read(["--config", "config.yaml", "--data.image_size=16"]))
    with pytest.raises(UserError, match="image_size must be 8"):
        bare_trainer().test(module, datamodule=data, ckpt_path=BEST, weights_only=True, verbose=False)
    data = ImageData("folder", "pets", image_size=8)
    data.mean, data.std = (0.1,) * 3, (0.9,) * 3
    bare_trainer().test(module, datamodule=data, ckpt_path=BEST, weights_only=True, verbose=False)
    assert list(data.mean) == checkpoint.read(BEST)["dasc"]["mean"]
    images = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    expected = (128 / 255 - torch.tensor(data.mean)) / torch.tensor(data.std)
    assert torch.allclose(data.pipeline.normalise(images)[0, :, 0, 0], expected)


@pytest.mark.parametrize("command", SCORING)
def test_other_class_names_are_named(
    command: str, fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parts=("train", "val", "test"))
    for part in ("train", "val", "test"):
        Path("pets", part, "cat").rename(Path("pets", part, "zebra"))
    said = exit_message([command, "--config", "config.yaml", f"--ckpt_path={BEST}"], capsys)
    assert said == (
        f"dasc {command}: pets/train has a class 'zebra' that is not one of the 2 classes of the checkpoint, or of "
        "data.class_names (cat, dog): rename or remove it"
    )


def test_a_run_is_not_continued_with_other_class_names(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit()
    for part in ("train", "test"):
        Path("pets", part, "cat").rename(Path("pets", part, "zebra"))
    longer = ["fit", "--config", "config.yaml", "--stages=[{epochs: 1}, {epochs: 1}]"]
    said = exit_message([*longer, f"--ckpt_path={BEST}"], capsys)
    assert "the classes differ: the data have 'zebra', which it does not know and the data lack its 'cat'" in said
    main([*longer, "--ckpt_path=last"])
    assert "the classes differ" in capsys.readouterr().out
    assert Path("lightning_logs/version_1").is_dir()


def test_class_names_in_another_order_are_named(fit: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    other = ["--data.class_names=[dog, cat]", "--config", "config.yaml"]
    said = exit_message(["test", *other, f"--ckpt_path={BEST}"], capsys)
    assert "class 0 is 'cat' there and 'dog' in the data" in said
    said = exit_message(["fit", *other, "--stages=[{epochs: 2}]", f"--ckpt_path={BEST}"], capsys)
    assert "class 0 is 'cat' there and 'dog' in the data" in said


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_run_on_other_data_is_named_or_skipped(
    name: str, fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit()
    make_folder(Path("other"), {part: {"cat": 20, "dog": 20} for part in ("train", "test")})
    words = ["test", "--config", "config.yaml", f"--ckpt_path={name}", "--data.root=other"]
    assert "version_0 does not fit, data.root is other, recorded is pets" in exit_message(words, capsys)
    digits = [*words, "--data.dataset=digits"]
    assert "version_0 does not fit, data.dataset is digits, recorded is folder" in exit_message(digits, capsys)
    deeper = [*words, "--model.network.depth=14"]
    assert "version_0 does not fit, model.network is" in exit_message(deeper, capsys)
    fit("--data.root=other")
    capsys.readouterr()
    main(["test", "--config", "config.yaml", f"--ckpt_path={name}"])
    assert (
        "version_1 does not fit, data.root is pets, recorded is other: "
        f"lightning_logs/version_0/checkpoints/{name}.ckpt is used instead"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_the_checkpoint_before_a_damaged_last_is_used(
    command: str, fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parts=("train", "val", "test"))
    last = Path(BEST).with_name("last.ckpt")
    last.write_bytes(last.read_bytes()[:-2000])
    main([command, "--config", "config.yaml", "--ckpt_path=last"])
    assert f"{last} is damaged: {last.with_name('best.ckpt')} is used instead" in capsys.readouterr().out
    for path in last.parent.glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-2000])
    assert f"{last} " in exit_message([command, "--config", "config.yaml", "--ckpt_path=last"], capsys)


def test_images_of_a_split_that_were_trained_on_are_refused(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parts=("train",), count=60)
    words = ["--config", "config.yaml", "--ckpt_path=best"]
    main(["test", *words])
    main(["validate", *words])
    data = {seed: ImageData("folder", "pets", split_seed=seed).source.read() for seed in (0, 1)}
    overlap = set(data[1]["val"].names()) & set(data[0]["train"].names())  # type: ignore[union-attr]
    said = exit_message(["validate", *words, "--data.split_seed=1"], capsys)
    assert f"{len(overlap)} of the {len(data[1]['val'].targets)} val images were, or may have been, training" in said
    main(["validate", *words, "--data.split_seed=1", "--allow_training_images"])
    main(["test", *words, "--data.split_seed=1"])  # the test images are the same
    main(["predict", *words, "--data.split_seed=1"])


def test_a_test_part_is_refused_that_was_not_split_off_in_training(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parts=("train", "test"))
    shutil.rmtree("pets/test")
    count = len(ImageData("folder", "pets").source.read()["test"].targets)
    said = exit_message(["test", "--config", "config.yaml", "--ckpt_path=best"], capsys)
    # by the rule of the run, what is now in test was in train or in val
    assert said.startswith("dasc test: ")
    assert f"of the {count} test images were, or may have been, training images" in said
    assert said.endswith("or add --allow_training_images")
    main(["test", "--config", "config.yaml", "--ckpt_path=best", "--allow_training_images"])


def test_added_photos_leave_the_test_images_of_a_run_unseen(fit: Callable[..., None]) -> None:
    fit(parts=("train",), count=60)
    make_folder(Path("pets"), {"train": {"cat": 100, "dog": 100}})
    main(["test", "--config", "config.yaml", "--ckpt_path=best"])
    main(["validate", "--config", "config.yaml", "--ckpt_path=best"])


def test_files_that_were_moved_from_train_to_test_are_refused(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parts=("train",), count=60)
    sets = ImageData("folder", "pets").source.read()
    moved = [*sets["train"].names()[::4], *sets["test"].names()]  # type: ignore[union-attr]
    for name in moved:
        target = Path("pets/test", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        Path("pets/train", name).rename(target)
    trained = len(sets["train"].names()[::4])  # type: ignore[union-attr]
    said = exit_message(["test", "--config", "config.yaml", "--ckpt_path=best"], capsys)
    assert f"{trained} of the {len(moved)} test images were, or may have been, training images" in said


def test_new_photos_in_a_test_folder_are_scored(fit: Callable[..., None]) -> None:
    fit(parts=("train",), count=60)
    for number in range(8):
        save(noise(16, 16, 3, seed=900 + number), Path("pets/test", ("cat", "dog")[number % 2], f"{number:03}.png"))
    main(["test", "--config", "config.yaml", "--ckpt_path=best"])


def test_arrays_of_another_split_are_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(tiny), "--stages=[{epochs: 1}]"])
    words = ["--config", str(tiny), "--ckpt_path=best", "--data.split_seed=1"]
    main(["test", *words])
    said = exit_message(["validate", *words], capsys)
    assert "of the 288 val images were, or may have been, training images of the checkpoint (by index: " in said
    main(["validate", *words, "--allow_training_images"])
    main(["validate", *words[:-1], "--data.train_size=200"])  # the val images are those of the run


def test_a_checkpoint_records_rule_seed_and_digest_and_no_names(fit: Callable[..., None]) -> None:
    fit("--data.split_seed=3", "--data.train_size=40", parts=("train",), count=60)
    recorded = checkpoint.read(BEST)["dasc"]
    split = recorded["split"]
    assert len(split.pop("digest")) == 64
    assert split == {
        **{"rule": "hash", "seed": 3, "share": 0.1, "parts": ["test", "val"], "train_size": 40, "images": 40}
    }
    assert ".png" not in str(recorded)


def test_a_run_is_not_continued_on_other_images(fit: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    make_folder(Path("pets"), {"train": {"cat": 34, "dog": 30}})
    before, now = (checkpoint.read(BEST)["dasc"]["split"]["images"], ImageData("folder", "pets").counts()["train"])
    words = ["fit", "--config", "config.yaml", "--stages=[{epochs: 1}, {epochs: 1}]", f"--ckpt_path={BEST}"]
    assert f"the {now} training images are others than the {before} recorded ones" in exit_message(words, capsys)


def test_fit_and_validate_leave_broken_test_images_alone(fit: Callable[..., None]) -> None:
    make_folder(Path("pets"), {part: {"cat": 30, "dog": 30} for part in ("train", "val", "test")})
    for path in Path("pets/test").rglob("*.png"):
        path.write_text("no image")
    fit()
    main(["validate", "--config", "config.yaml", "--ckpt_path=best"])


def test_predict_without_any_images_is_a_sentence(fit: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    shutil.rmtree("pets/test")
    shutil.rmtree("pets/train")
    words = ["--config", "config.yaml", "--ckpt_path=best"]
    assert "there is no folder pets/test" in exit_message(["predict", *words], capsys)
    make_folder(Path("pets"), {"val": {"cat": 3, "dog": 3}})
    assert exit_message(["test", *words], capsys) == (
        "dasc test: there are no test images under pets: put them into class folders in test/"
    )
    main(["validate", *words])


RESULTS = Path("lightning_logs/version_0/test.json")


def records(path: Path = RESULTS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(("correct", "count"), [(0, 5), (3, 5), (5, 5), (337, 360)])
def test_the_interval_of_a_proportion_is_wilsons(correct: int, count: int) -> None:
    p, z = correct / count, 1.959963984540054
    middle = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    share = float(torch.tensor(p))  # the metrics are float32
    assert proportion_interval(share, count) == pytest.approx((middle - half, middle + half), abs=1e-12)


def test_metrics_are_rounded_with_their_units_and_the_interval_of_the_accuracy() -> None:
    values = {"test/accuracy": 337 / 360, "test/nll": 0.23456, "test/ece": 0.012345, "test/mine": 12.34567}
    assert list(Scores(values, 360).table()) == [
        "  accuracy                 93.61 % (95 % interval 90.6 to 95.7 %, 360 images)",
        "  negative log-likelihood  0.235",
        "  calibration error        0.0123",
        "  mine                     12.3457",
    ]


def test_a_test_prints_and_records_what_the_predictions_give(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit()
    found = predictions("--ckpt_path=best")
    correct = sum(row["class"] == Path(row["path"]).parent.name for row in found)
    capsys.readouterr()
    main(["test", "--config", "config.yaml", "--ckpt_path=best"])
    low, high = (100 * bound for bound in proportion_interval(correct / 60, 60))
    share = f"{100 * correct / 60:.2f} % (95 % interval {low:.1f} to {high:.1f} %, 60 images)"
    printed = capsys.readouterr().out
    assert re.search(rf"^  accuracy  +{re.escape(share)}$", printed, re.MULTILINE)
    assert f"{BEST} on 60 test images of pets:" in printed
    assert f"Results: {RESULTS}" in printed
    (record,) = records()
    assert record["checkpoint"] == "checkpoints/best.ckpt"
    assert record["metrics"]["accuracy"] == pytest.approx(correct / 60, abs=1e-7)
    assert record["intervals"] == {"accuracy": pytest.approx([low / 100, high / 100])}
    assert record["images"] == 60
    assert record["network"] == checkpoint.read(BEST)["dasc"]["network"]
    assert record["data"] == {"dataset": "folder", "root": "pets", "split_seed": 0, "image_size": [16, 16]}
    assert record["versions"] == {"dasc": checkpoint.read(BEST)["dasc"]["version"], "torch": torch.__version__}


def test_the_results_of_each_checkpoint_and_data_set_are_kept(fit: Callable[..., None]) -> None:
    fit()
    shutil.copytree("pets", "other")
    words = ["test", "--config", "config.yaml", "--trainer.enable_progress_bar=false"]
    main([*words, "--ckpt_path=best"])
    (first,) = records()
    main([*words, "--ckpt_path=last"])
    main([*words, f"--ckpt_path={BEST}", "--data.root=other", "--allow_training_images"])
    main([*words, "--ckpt_path=last"])
    named = [(record["checkpoint"], record["data"]["root"]) for record in records()]
    best, last = ("checkpoints/best.ckpt", "pets"), ("checkpoints/last.ckpt", "pets")
    assert named == [best, ("checkpoints/best.ckpt", "other"), last]
    assert records()[0] == first


def test_the_results_of_a_checkpoint_outside_a_run_are_written_to_the_root(fit: Callable[..., None]) -> None:
    fit()
    shutil.copy(BEST, "mine.ckpt")
    words = ["test", "--config", "config.yaml", "--ckpt_path=mine.ckpt", "--trainer.default_root_dir=root"]
    main([*words, "--trainer.limit_test_batches=1", "--data.eval_batch_size=20"])
    assert not RESULTS.exists()
    (record,) = records(Path("root/test.json"))
    assert record["checkpoint"] == str(Path("mine.ckpt").absolute())
    assert record["images"] == 20


def test_a_validation_writes_no_file_and_verbose_false_prints_nothing(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parts=("train", "val", "test"))
    capsys.readouterr()
    main(["validate", "--config", "config.yaml", "--ckpt_path=best"])
    assert "val images of pets" not in (printed := capsys.readouterr().out)
    assert f"{BEST} on 60 validation images of pets:" in printed
    assert re.search(
        r"^  accuracy  \d+\.\d\d % \(95 % interval .* 60 images\)\n  loss +\d+\.\d{4}$", printed, re.MULTILINE
    )
    assert not list(Path().rglob("test.json"))
    for command in ("validate", "test"):
        main([command, "--config", "config.yaml", "--ckpt_path=best", "--verbose=false"])
        assert "accuracy" not in capsys.readouterr().out
    assert len(records()) == 1


def test_another_file_in_the_place_of_the_results_is_refused_before_the_test(
    fit: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit()
    RESULTS.write_text("{}")
    monkeypatch.setattr("lightning.pytorch.Trainer.test", lambda *args, **kwargs: pytest.fail("it was tested"))
    said = exit_message(["test", "--config", "config.yaml", "--ckpt_path=best"], capsys)
    assert said == (
        f"dasc test: {RESULTS} must be results of dasc test, got another file (it is not a list of records): "
        "move it elsewhere"
    )
    assert RESULTS.read_text() == "{}"


def test_a_value_that_is_not_a_number_is_null(tmp_path: Path) -> None:
    scores = Scores({"test/accuracy": 0.5, "test/nll": math.nan}, 4)
    path = tmp_path / "test.json"
    add_record(path, record(scores, Path("a.ckpt"), path, {}, ImageData()))
    assert records(path)[0]["metrics"] == {"accuracy": 0.5, "nll": None}
