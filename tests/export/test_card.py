"""The model card: its facts, its JSON, its Markdown, and the lines of code in it."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dasc.errors import UserError
from dasc.export.card import JSON_FILE, Agreement, Card, LatencyFacts, Result
from dasc.export.card_facts import PACKAGES, file_facts, make_card, quantisation_of, recorded_tests, result_of
from dasc.export.card_text import markdown
from dasc.export.format import Model
from dasc.export.formats import FORMATS, format_class
from dasc.export.loading import loading_lines
from dasc.machine import cpu_name, this_machine
from dasc.networks import CifarResNet
from tests.support.exported import images_of, model_of

STAGES = [
    {"epochs": 3, "magnitude": 14, "auxiliary": 2},
    {"epochs": 2, "sparsity": 0.6, "magnitude": [12, 8], "lr": 0.05},
]


def recorded_of(model: Model) -> dict[str, Any]:
    """The data under `dasc` of a checkpoint, as a run records it."""
    return {
        "format": 2,
        "version": "0.1.0",
        "network": dict(model.metadata.network),
        "classes": list(model.metadata.classes),
        "data": {"dataset": "digits", "split_seed": 3, "num_classes": 10},
        "root": "/home/someone/sets/scans",
        "split": {"rule": "stratified", "seed": 3, "share": 0.2, "parts": ["val"], "images": 1149, "digest": "ab"},
        "recipe": {"module": "PrunedClassifier", "optimizer": {"class": "SGD", "lr": 0.1}, "teacher": "c0ffee"},
        "seed": 7,
        "stages": STAGES,
        "stage": 1,
        "epochs_done": 4,
    }


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(CifarResNet(10, depth=8), size=8, sparsity=0.6)


@pytest.fixture
def card(model: Model, tmp_path: Path) -> Card:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    (tmp_path / "int8.onnx").write_bytes(b"int8 onnx")
    files = [
        file_facts(tmp_path / "model.onnx", "onnx", model.metadata, Agreement(288, 3.25e-6, 1.5e-4)),
        file_facts(tmp_path / "int8.onnx", "int8", model.metadata, quantisation=quantisation_of(280, 277, 288)),
    ]
    results = [result_of("validation", {"accuracy": 280 / 288, "ece": 0.0123}, 288)]
    latencies = [LatencyFacts("model.onnx", "ONNX Runtime", 1, 2, 0.5, 0.25, 0.75, 30)]
    machine = this_machine(PACKAGES)
    return make_card(Path("best.ckpt"), recorded_of(model), model, results, files, machine, latencies, "no speed")


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The closed form, with the 97.5 % quantile of the normal distribution."""
    z, share = 1.959963984540054, correct / count
    middle, half = share + z**2 / (2 * count), z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (middle - half) / (1 + z**2 / count), (middle + half) / (1 + z**2 / count)


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The cells of all rows of the tables in a text; escaped pipes are part of a cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_sizes_are_those_counted_by_hand(card: Card, model: Model) -> None:
    weights = [p for name, p in model.network.named_parameters() if p.dim() > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    # depth 8: a stem, then blocks of 16, 32 and 64 channels on 8x8, 4x4 and 2x2 pixels, with shortcuts without weights
    layers = [(3, 16, 64), (16, 16, 64), (16, 16, 64), (16, 32, 16), (32, 32, 16), (32, 64, 4), (64, 64, 4)]
    macs = sum(9 * before * after * pixels for before, after, pixels in layers) + 64 * 10
    kernels = sum(9 * before * after for before, after, _ in layers) + 64 * 10
    norms = 2 * sum(after for _, after, _ in layers)
    assert card.network.prunable_weights == kernels
    assert card.network.parameters == kernels + norms + 10
    assert card.network.nonzero_parameters == kernels + norms + 10 - zeros
    assert card.network.macs == macs
    assert card.network.zero_weights == zeros
    assert 0.55 < card.network.sparsity == zeros / kernels < 0.65
    rows = cells(section(markdown(card), "Size"))
    assert rows[2] == ["parameters", f"{kernels + norms + 10:,}", f"{kernels + norms + 10 - zeros:,}"]


def test_accuracies_have_wilson_intervals(card: Card) -> None:
    (result,) = card.results
    accuracy, change = result.metrics["accuracy"], card.files[1].quantisation
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(280, 288))
    assert change is not None
    assert (change.after.low, change.after.high) == pytest.approx(wilson(277, 288))
    assert (change.before.value, change.after.value) == (280 / 288, 277 / 288)
    assert result.metrics["ece"].low is None
    low, high = (f"{100 * bound:.1f}" for bound in wilson(280, 288))
    rows = cells(section(markdown(card), "Results"))
    assert rows[0][-1] == "95 % interval"
    assert rows[2] == ["accuracy", "validation", "288", "97.22 %", f"{low} to {high} %"]
    assert rows[3] == ["calibration error", "validation", "288", "0.0123", ""]
    assert "accuracy 96.18 % (" in section(markdown(card), "Files")


def test_bytes_and_checksum_are_those_of_the_file(card: Card, tmp_path: Path) -> None:
    printed = subprocess.run(["sha256sum", tmp_path / "model.onnx"], capture_output=True, text=True, check=True).stdout
    assert card.files[0].sha256 == printed.split()[0]
    assert card.files[0].bytes == 4
    row = cells(section(markdown(card), "Files"))[2]
    assert row == ["model.onnx", "onnx", "4", "288", "3.2e-06 (1.5e-04)", printed.split()[0]]


def test_stages_are_in_the_columns_of_the_plan(card: Card) -> None:
    assert cells(section(markdown(card), "Training")) == [
        ["stage", "epochs", "sparsity", "M", "lr", "layers"],
        ["---:"] * 6,
        ["1", "1-3", "0.0%", "14", "0.1", "8+4"],  # two blocks of two layers
        ["2", "4-5", "60.0%", "12 to 8", "0.05", "8"],
    ]
    assert list(card.training.stages) == STAGES
    training = card.training
    assert (training.seed, training.epochs_done, training.stage, training.teacher) == (7, 4, 2, "c0ffee")


def test_data_and_split_are_those_of_the_run_without_the_path_of_the_folder(card: Card) -> None:
    data = card.data
    assert (data.dataset, data.folder, data.split_seed) == ("digits", "scans", 3)
    assert (data.training_images, data.validation_images) == (1149, 288)
    assert "someone" not in card.to_json() + markdown(card)
    assert "288, split from the training images" in section(markdown(card), "Data")


def test_limits_say_that_validation_selected_the_epoch(card: Card, model: Model) -> None:
    assert any("selected on the 288 validation images" in limit for limit in card.limits)
    args = (recorded_of(model), model, card.results, card.files, card.machine)
    assert not any("selected on" in limit for limit in make_card(Path("last.ckpt"), *args).limits)
    assert any("selected on" in limit for limit in make_card(Path("stage-2-best.ckpt"), *args).limits)


def test_limits_say_what_was_not_tested_and_why_files_were_kept(card: Card, model: Model) -> None:
    def limits(results: tuple[Result, ...], count: int) -> str:
        files = card.files[:count]
        return " ".join(make_card(Path("a"), recorded_of(model), model, results, files, card.machine).limits)

    tested = (*card.results, replace(card.results[0], part="test"))
    assert "no recorded results on test images" in limits(card.results, 1)
    assert "no recorded results on test images" not in limits(tested, 1)
    assert "int8" not in limits(card.results, 1)
    assert "that you trust" not in limits(card.results, 1)  # there is no torch.export file
    assert "The int8 file was kept because of its accuracy" in limits(card.results, 2)


def test_the_json_round_trips(card: Card) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(card.to_json(), parse_constant=refuse)
    assert content["version"] == 1
    assert content["metadata"] == card.metadata
    assert Card.from_json(card.to_json()) == card
    assert markdown(Card.from_json(card.to_json())) == markdown(card)


def test_values_that_are_not_finite_become_null(card: Card) -> None:
    unknown = replace(card, results=(result_of("validation", {"val/nll": math.inf, "ece": math.nan}, 5),))
    read = Card.from_json(unknown.to_json())
    assert read.results[0].metrics["nll"].value is None
    assert "| not finite |" in markdown(read)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a missing key": (lambda card: card["files"][0].pop("bytes"), "files[0].bytes is missing"),
    "a foreign key": (lambda card: card["data"].update(size=1), "data.size is no key of it"),
    "a text for a number": (lambda card: card["network"].update(macs="9"), "network.macs must be an integer"),
    "a bool for a number": (lambda card: card["network"].update(macs=True), "network.macs must be an integer"),
    "a number for a bool": (lambda card: card["training"].update(selected=1), "training.selected must be true or"),
    "null for a number": (lambda card: card["latencies"][0].update(median_ms=None), "latencies[0].median_ms must be"),
    "an object for a list": (lambda card: card.update(limits={}), "limits must be a list"),
    "three sizes": (lambda card: card["input"].update(image_size=[8, 8, 8]), "input.image_size must have 2 entries"),
    "a list for an object": (lambda card: card.update(metadata=[]), "metadata must be an object"),
    "a number over all floats": (lambda card: card["input"].update(margin=10**400), "input.margin must be a finite"),
    "another version": (lambda card: card.update(version=2), "the version of card.json must be 1, got 2"),
    "a bool for a version": (lambda card: card.update(version=True), "the version of card.json must be 1, got True"),
    "no version": (lambda card: card.pop("version"), "card.json must be a model card of dasc export"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_card_is_refused_in_one_sentence(card: Card, name: str) -> None:
    content = json.loads(card.to_json())
    damage, message = DAMAGE[name]
    damage(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        Card.from_json(json.dumps(content), "card.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2", '{"version": NaN}', "[" * 100_000, b"\xff\xfe\xfd", "[]"])
def test_a_text_that_is_no_card_is_refused(text: str | bytes) -> None:
    with pytest.raises(UserError, match=r"card\.json must be a model card"):
        Card.from_json(text, "card.json")


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Card.read(tmp_path / JSON_FILE)


def test_class_names_with_markup_leave_the_tables_whole_and_hundreds_are_shortened(card: Card) -> None:
    names = ("a|b", "<b>*bold*", "two\nlines", *(f"class {number}" for number in range(300)))
    text = markdown(replace(card, data=replace(card.data, classes=names, dataset="x|y")))
    line = next(line for line in text.splitlines() if line.startswith("- 303 classes: "))
    assert line.startswith(r"- 303 classes: a\|b, \<b\>\*bold\*, two lines, class 0, ")
    assert line.endswith(r"class 16 and 283 more, see model\_card.json")
    named = replace(card, files=(replace(card.files[0], name="a|b.onnx"),))
    for table in ("Files", "Latency", "Results", "Size", "Training"):
        rows = cells(section(markdown(named), table))
        assert len(rows) > 2
        assert {len(row) for row in rows} == {len(rows[0])}, table


def test_class_names_of_any_bytes_can_be_written(card: Card) -> None:
    odd = replace(card, data=replace(card.data, classes=(os.fsdecode(b"caf\xe9"),)))
    markdown(odd).encode()
    assert Card.from_json(odd.to_json().encode()) == odd


def test_latencies_have_machine_and_versions(card: Card) -> None:
    text = markdown(card)
    assert cells(section(text, "Latency"))[2] == [
        *("model.onnx", "ONNX Runtime", "1", "2", "0.500", "0.250 to 0.750", "30")
    ]
    assert torch.__version__.startswith(card.machine.versions["torch"])
    assert card.machine.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert f"torch {card.machine.versions['torch']}" in section(text, "Machine and versions")
    assert card.machine.cpu in section(text, "Latency").replace("\\", "")
    assert "no speed." in text


def test_the_processor_is_that_of_linux_or_the_architecture(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 49\nmodel name\t: Some CPU: 2 GHz\n\nmodel name\t: Other\n")
    assert cpu_name(file) == "Some CPU: 2 GHz"
    file.write_text("processor\t: 0\nCPU part\t: 0xd0c\n")
    assert os.uname().machine in (cpu_name(file), cpu_name(tmp_path / "missing"))


def test_test_results_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    checkpoint, file = tmp_path / "checkpoints" / "best.ckpt", tmp_path / "test.json"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    metrics = {"accuracy": 0.75, "nll": None}
    records = [
        {"checkpoint": "checkpoints/best.ckpt", "images": 40, "metrics": metrics},
        {"checkpoint": "checkpoints/last.ckpt", "images": 50, "metrics": metrics},
        {"checkpoint": "checkpoints/best.ckpt", "images": 0, "metrics": metrics},
        {"checkpoint": "checkpoints/best.ckpt", "images": 40, "metrics": "none"},
        {"checkpoint": "checkpoints/best.ckpt", "images": 40, "metrics": {"accuracy": "none"}},
    ]
    file.write_text(json.dumps(records))
    os.utime(checkpoint, (1000, 1000))
    os.utime(file, (2000, 2000))
    (result,) = recorded_tests(file, checkpoint)
    accuracy = result.metrics["accuracy"]
    assert (result.part, result.images) == ("test", 40)
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(30, 40))
    assert result.metrics["nll"].value is None
    os.utime(checkpoint, (3000, 3000))
    assert recorded_tests(file, checkpoint) == ()
    assert recorded_tests(tmp_path / "none.json", checkpoint) == ()


def test_a_network_class_of_a_user_is_trusted_by_name() -> None:
    lines = loading_lines("sparse", 'a "b".safetensors', "my_package.nets.Net").pytorch
    assert lines[1] == r'network = load_sparse("a \"b\".safetensors", trust=["my_package"])'


def write_card(model: Model, folder: Path) -> Card:
    """Write all formats and the card into a folder."""
    files = []
    for name in FORMATS:
        form = format_class(name)()
        path = folder / f"{name}{form.suffix}"
        form.write(model, path)
        files.append(file_facts(path, name, form.metadata_of(model)))
    results = [Result("validation", 1, 0.95, {})]
    card = make_card(Path("best.ckpt"), recorded_of(model), model, results, files, this_machine(()))
    (folder / JSON_FILE).write_text(card.to_json())
    return card


def expected_outputs(model: Model, images: torch.Tensor) -> torch.Tensor:
    """Outputs of the network for uint8 or normalised images, with the normalisation and the softmax in NumPy."""
    if images.dtype == torch.uint8:
        form = model.metadata.input_format
        pixels = images.double().numpy() / 255
        for channel in range(3):
            pixels[:, channel] = (pixels[:, channel] - form.mean[channel]) / form.std[channel]
        logits = model.network(torch.from_numpy(pixels).float()).detach()
        return torch.from_numpy(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True))
    outputs: torch.Tensor = model.network(images).detach()
    return outputs


@pytest.mark.parametrize("preprocess", [False, True])
def test_the_lines_of_the_card_run_the_files(preprocess: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(CifarResNet(10, depth=8), size=8, preprocess=preprocess, sparsity=0.5)
    text = markdown(write_card(model, tmp_path))
    assert "load only files that you trust" in section(text, "Use and limits")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^(\S+) in (PyTorch|ONNX Runtime):\n\n```python\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    assert {name.replace("\\", "").partition(".")[0] for name, _, _ in blocks} == set(FORMATS)
    by_dtype = {
        kind: images_of(replace(model, metadata=replace(model.metadata, preprocess=kind)), 3) for kind in (True, False)
    }
    for name, runtime, code in blocks:
        assert len(code.splitlines()) == 3
        has_graph = format_class(name.replace("\\", "").partition(".")[0]).has_graph
        images = by_dtype[preprocess and has_graph]
        scope: dict[str, Any] = {"images": images if runtime == "PyTorch" else images.numpy()}
        exec(code, scope)
        outputs = torch.as_tensor(scope["outputs"]).detach()
        torch.testing.assert_close(outputs, expected_outputs(model, images), rtol=1e-4, atol=1e-4)
