"""`dasc compare`: the table, the files, and what is refused."""

import csv
import errno
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from dasc.cli import main
from dasc.compare import compare as compare_module
from dasc.data import ImageData
from dasc.export.safetensors_file import SafetensorsFormat
from dasc.networks import CifarResNet
from tests.support.checkpoints import train
from tests.support.errors import exit_message
from tests.support.exported import model_of

RUN = Path("lightning_logs", "version_0")
FAST = ("--latency_seconds", "0")
DATA: dict[str, Any] = {"dataset": "digits", "batch_size": 64, "train_size": 256}


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on another split of the same images, with an auxiliary block."""
    stages = [{"epochs": 1, "auxiliary": 1}]
    return train(tmp_path_factory.mktemp("other"), stages=stages, data=DATA | {"split_seed": 1}, depth=8)


@pytest.fixture(scope="session")
def compared(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a comparison of two checkpoints, their exported files, and a graph with preprocessing."""
    output = tmp_path_factory.mktemp("compared") / "comparison"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        compare(*(run / path for path in PATHS.values()), "--output", output, *FAST)
    return output


@pytest.fixture(scope="session")
def measured(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a comparison of a checkpoint and an int8 file, with latencies."""
    output = tmp_path_factory.mktemp("measured") / "comparison"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        paths = [run / PATHS[name] for name in ("version_0/best.ckpt", "export/model.int8.onnx")]
        compare(*paths, "--output", output, "--latency_seconds", "0.1")
    return output


PATHS = {
    "version_0/best.ckpt": RUN,
    "version_0/stage-1.ckpt": RUN / "checkpoints" / "stage-1.ckpt",
    "export/model.onnx": RUN / "export" / "model.onnx",
    "export/model.int8.onnx": RUN / "export" / "model.int8.onnx",
    "export/model.sparse.safetensors": RUN / "export" / "model.sparse.safetensors",
    "pt2/model.pt2": Path("pt2", "model.pt2"),
}
"""Candidates by their names."""


def compare(*words: object) -> None:
    main(["compare", *map(str, words)])


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "compare.csv").open() as file:
        return {row["candidate"]: row for row in csv.DictReader(file)}


def images_of(split: str) -> tuple[Tensor, Tensor]:
    """The normalised images of the run and their classes."""
    data = ImageData(dataset="digits", train_size=256)
    data.setup({"val": "validate", "test": "test"}[split])
    batches = list(data.val_dataloader() if split == "val" else data.test_dataloader())
    images = torch.cat([data.pipeline.normalise(batch.images) for batch in batches])
    return images, torch.cat([batch.targets for batch in batches])


def network_of(checkpoint: Path) -> nn.Module:
    """The network of a checkpoint by torch alone."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    network = CifarResNet(10, depth=8)
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    return network.eval()


def logits_of(run: Path, name: str, images: Tensor) -> Tensor:
    """The logits of a candidate by torch or ONNX Runtime alone."""
    if name.endswith(".int8.onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(run / PATHS[name]), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    file = "stage-1.ckpt" if "stage-1" in name else "best.ckpt"
    with torch.no_grad():
        logits: Tensor = network_of(run / RUN / "checkpoints" / file)(images)
    return logits


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """The expected calibration error with 15 bins, image by image."""
    confidences, predicted = logits.double().softmax(1).max(1)
    error = 0.0
    for low in range(15):
        chosen = (confidences > low / 15) & (confidences <= (low + 1) / 15)
        if chosen.any():
            share = (predicted == targets)[chosen].double().mean()
            error += chosen.double().mean().item() * abs(share - confidences[chosen].mean()).item()
    return error


def test_accuracy_and_calibration_are_those_of_each_network_on_the_validation_images(run: Path, compared: Path) -> None:
    images, targets = images_of("val")
    rows = rows_of(compared)
    assert list(rows) == list(PATHS)
    for name, row in rows.items():
        logits = logits_of(run, name, images)
        right = int((logits.argmax(1) == targets).sum())
        assert (int(row["correct_images"]), int(row["images"])) == (right, len(targets)), name
        assert float(row["accuracy_percent"]) == pytest.approx(100 * right / len(targets))
        assert float(row["ece"]) == pytest.approx(calibration_error(logits, targets), abs=1e-5)
        assert float(row["accuracy_low_percent"]) < 100 * right / len(targets) < float(row["accuracy_high_percent"])
    assert len({row["correct_images"] for row in rows.values()}) > 1, "the test could not tell the networks apart"


def test_parameters_and_zeros_are_counted_in_each_file(run: Path, compared: Path) -> None:
    best, dense = (network_of(run / RUN / "checkpoints" / name) for name in ("best.ckpt", "stage-1.ckpt"))
    for name, row in rows_of(compared).items():
        network = dense if "stage-1" in name else best
        weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        parameters = sum(parameter.numel() for parameter in network.parameters())
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        if "int8" in name:
            tensors = map(onnx.numpy_helper.to_array, onnx.load(str(run / PATHS[name])).graph.initializer)
            zeros = sum(int((values == 0).sum()) for values in tensors if values.dtype == np.int8 and values.ndim > 1)
        assert int(row["parameters"]) == parameters
        assert int(row["nonzero_parameters"]) == parameters - zeros, name
        assert int(row["macs"]) == 765_568  # by hand in tests/networks
        size = sum(tensor.nbytes for tensor in network.state_dict().values())
        assert int(row["bytes"]) == (size if name.endswith(".ckpt") else (run / PATHS[name]).stat().st_size)


def test_all_networks_are_measured_in_one_runtime(measured: Path) -> None:
    for name, row in rows_of(measured).items():
        for runtime in ("onnxruntime", "pytorch"):
            for batch in (1, 64):
                ends = ("first_quartile_ms", "median_ms", "third_quartile_ms")
                cells = [row[f"{runtime}_batch_{batch}_{end}"] for end in ends]
                if runtime == "pytorch" and name.endswith(".onnx"):
                    assert cells == ["", "", ""]
                else:
                    lower, median, upper = map(float, cells)
                    assert 0 < lower <= median <= upper
        assert row["threads"] == "1"
        assert row["on_front_of_latency"] in ("0", "1")


def test_differences_are_tested_on_the_same_images(run: Path, compared: Path) -> None:
    images, targets = images_of("val")
    hits = {name: logits_of(run, name, images).argmax(1) == targets for name in PATHS}
    best = max(hits, key=lambda name: int(hits[name].sum()))
    for name, row in rows_of(compared).items():
        points = 100 * (int(hits[name].sum()) - int(hits[best].sum())) / len(targets)
        assert float(row["difference_from_best_points"]) == pytest.approx(points)
        assert (row["p_value"] == "") == (name == best)
        if bool((hits[name] == hits[best]).all()) and name != best:
            assert float(row["p_value"]) == 1


def test_the_picture_has_two_panels_with_all_names(measured: Path) -> None:
    text = (measured / "compare.svg").read_text()
    assert "size (kB)" in text
    assert "latency at batch 1 in ONNX Runtime, 1 thread (ms)" in text
    for name in rows_of(measured):
        assert text.count(f"<!-- {name} -->") == 2
    assert {path.name for path in measured.iterdir()} == {"compare.csv", "compare.svg"}


def test_one_candidate_is_a_table_of_one_row(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run)
    compare("best", "--split", "test", *FAST, "--output", "one")
    images, targets = images_of("test")
    right = int((logits_of(run, "version_0/best.ckpt", images).argmax(1) == targets).sum())
    (row,) = rows_of(Path("one")).values()
    assert (row["split"], row["images"], row["correct_images"]) == ("test", str(len(targets)), str(right))
    assert row["path"] == str(RUN / "checkpoints" / "best.ckpt")
    assert row["on_front_of_latency"] == row["onnxruntime_batch_1_median_ms"] == ""
    printed = capsys.readouterr().out
    assert "differences" not in printed
    assert "selected on validation images" not in printed


def test_a_file_of_a_best_checkpoint_is_called_optimistic_on_validation_images(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run)
    last, exported = PATHS["version_0/stage-1.ckpt"], PATHS["export/model.onnx"]
    said = []
    for words in ([last], [last, exported], [last, exported, "--split", "test"]):
        compare(*words, *FAST, "--output", "again", "--overwrite")
        said.append("selected on validation images" in capsys.readouterr().out)
    assert said == [False, True, False]


def test_an_exported_file_has_the_images_of_its_run(run: Path) -> None:
    """The run is found by the folder of the file, without a checkpoint among the candidates."""
    compare(run / PATHS["export/model.sparse.safetensors"], *FAST)
    (row,) = rows_of(Path("comparison")).values()
    assert int(row["images"]) == len(images_of("val")[1])


def test_a_file_with_other_classes_is_not_of_the_run_around_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run / RUN / "checkpoints", RUN / "checkpoints")
    file = weights(RUN / "own.safetensors")  # its classes have other names
    assert "which is in no run folder" in exit_message(["compare", str(file), *FAST], capsys)


def test_an_exported_file_outside_of_a_run_needs_a_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / PATHS["pt2/model.pt2"]
    message = exit_message(["compare", str(file), *FAST], capsys)
    assert message.startswith(f"dasc compare: the images must be those of a run, got {file}, which is in no run folder")
    assert message.endswith("give a checkpoint of the run, too")


def test_training_images_of_a_checkpoint_are_refused(
    run: Path, other_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(run / RUN), str(other_run / RUN), *FAST]
    message = exit_message(words, capsys)
    assert f"{other_run / RUN / 'checkpoints' / 'best.ckpt'} cannot be compared on these images" in message
    assert "were, or may have been, training images" in message
    assert not os.listdir()
    main([*words, "--allow_training_images"])
    printed = capsys.readouterr().out
    names = [f"{folder.name}/version_0/best.ckpt" for folder in (run, other_run)]
    assert f"note: {names[1]}: its auxiliary block is left out" in printed
    rows = rows_of(Path("comparison"))
    assert list(rows) == names
    assert rows[names[0]]["parameters"] == rows[names[1]]["parameters"]


def weights(path: Path, classes: int = 10, size: int = 8, last: str = "") -> Path:
    """Write an untrained network."""
    model = model_of(CifarResNet(classes, depth=8), size)
    names = [f"class {number}" for number in range(classes)]
    names[-1] = last or names[-1]
    metadata = replace(model.metadata, classes=tuple(names))
    SafetensorsFormat().write(replace(model, metadata=metadata), path)
    return path


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "classes": ({"classes": 7}, "the same classes, got 10 in own.safetensors and 7 in other.safetensors"),
    "names": (
        {"last": "x"},
        "the same classes, got class 9 'class 9' in own.safetensors and 'x' in other.safetensors",
    ),
    "image size": (
        {"size": 16},
        "the same image size, got 8 x 8 pixels in own.safetensors and 16 x 16 pixels in other.safetensors",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_candidates_that_differ_in_their_input_or_output_are_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, says = DIFFERENT[name]
    paths = [weights(Path("own.safetensors")), weights(Path("other.safetensors"), **settings)]
    message = exit_message(["compare", *map(str, paths)], capsys)
    assert message.removeprefix("dasc compare: candidates must have ") == f"{says}: leave one out"


def test_without_matplotlib_there_is_a_table_only(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    compare(run / RUN, *FAST)
    assert os.listdir("comparison") == ["compare.csv"]
    assert "compare.csv (for the picture: pip install 'dasc[study]')" in capsys.readouterr().out


def test_an_earlier_comparison_is_replaced_only_if_asked(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(run / RUN, *FAST)
    before = Path("comparison", "compare.csv").read_text()
    words = ["compare", str(run / PATHS["version_0/stage-1.ckpt"]), *FAST]
    assert "add --overwrite to replace the files of an earlier comparison" in exit_message(words, capsys)

    def fail(comparison: object, path: Path) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(compare_module, "draw", fail)
        assert "--output must be a folder with space" in exit_message([*words, "--overwrite"], capsys)
    assert Path("comparison", "compare.csv").read_text() == before
    assert os.listdir() == ["comparison"]
    main([*words, "--overwrite"])
    assert list(rows_of(Path("comparison"))) == ["version_0/stage-1.ckpt"]
