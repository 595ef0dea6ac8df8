"""`dasc predict --images` with exported files."""

import csv
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from scipy.special import softmax

from dasc import checksum
from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.export.format import Model
from dasc.export.formats import FORMATS, format_class
from dasc.export.identify import SUFFIXES, identify
from dasc.export.metadata import Metadata
from dasc.export.predictor import open_predictor
from dasc.export.sparse_file import SparseFormat
from dasc.export.state_dict_file import CARD
from dasc.networks import CifarResNet
from dasc.prediction import CheckpointPredictor, InputFormat
from dasc.stages.structure import structure_of
from tests.support.errors import user_error
from tests.support.exported import model_of
from tests.support.files import truncate
from tests.support.graphs import metadata, write_graph
from tests.support.photos import BEST, train_on_photos

EXPORTS = {
    **{name: name for name in FORMATS},
    "onnx with normalisation": "onnx",
    "torch_export with normalisation": "torch_export",
    "sparse, compressed": "sparse",
}
"""Format by what is exported."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of three pets, a run on them, and checkpoint.csv, its predictions."""
    folder = train_on_photos(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["dasc"])
        main(["predict", "--images", str(folder / "pets/test"), "--ckpt_path=best", "--output=checkpoint.csv"])
    return folder


def model_of_run(folder: Path, preprocess: bool = False) -> Model:
    """Return the network of the checkpoint as a model to export."""
    network, _, recorded = load_network(folder / BEST)
    form = InputFormat.of_checkpoint(recorded)
    network_config = {name: recorded["network"][name] for name in ("class_path", "init_args")}
    described = Metadata(network_config, structure_of(network), tuple(recorded["classes"]), form, preprocess)
    return Model(network, described)


Export = Callable[[str], Path]


@pytest.fixture(scope="module")
def export(trained: Path) -> Export:
    """Return the path of an exported file; each is written once."""

    def write(what: str) -> Path:
        kind = SparseFormat(zstd=True) if what == "sparse, compressed" else format_class(EXPORTS[what])()
        path = trained / what / f"model{kind.suffix}"
        if not path.exists():
            path.parent.mkdir()
            model = model_of_run(trained, "normalisation" in what)
            kind.write(model, path)
            if what == "state_dict":
                path.with_name(CARD).write_text(json.dumps({"metadata": model.metadata.to_strings()}))
        return path

    return write


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """One batch that the ranges of activations are measured on."""

    def __init__(self, images: npt.NDArray[Any]) -> None:
        self._batches = iter([{"images": images}])

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        return next(self._batches, None)


def quantise(path: Path, output: Path, images: npt.NDArray[Any]) -> Path:
    """Write an int8 file."""
    quantize_static(path, output, Calibration(images), quant_format=QuantFormat.QDQ, per_channel=True)
    return output


@pytest.mark.parametrize("what", EXPORTS)
def test_an_exported_file_has_the_predictions_of_its_checkpoint(what: str, export: Export, trained: Path) -> None:
    path = export(what)
    main(["predict", "--images", str(trained / "pets/test"), f"--ckpt_path={path}", "--batch_size=5"])
    expected, found = rows(trained / "checkpoint.csv"), rows(Path("predictions.csv"))
    assert len(found) == len(expected) == 36
    for row, of_checkpoint in zip(found, expected, strict=True):
        assert list(row) == list(of_checkpoint)
        for column, value in of_checkpoint.items():
            if column.startswith("probability"):
                assert float(row[column]) == pytest.approx(float(value), abs=1e-5)
            else:
                assert row[column] == value


def test_a_quantised_file_has_the_predictions_that_onnx_runtime_computes(export: Export, trained: Path) -> None:
    form = InputFormat.of_checkpoint(load_network(trained / BEST).meta)
    files = sorted((trained / "pets/test").rglob("*.*"))
    images = np.stack([form.decode(str(file)).numpy() for file in files]).astype(np.float32) / 255
    mean, std = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (form.mean, form.std))
    images = ((images - mean) / std).astype(np.float32)
    path = quantise(export("onnx"), Path("model.int8.onnx"), images)
    main(["predict", "--images", str(trained / "pets/test"), f"--ckpt_path={path}"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = softmax(session.run(None, {"images": images})[0], axis=1)
    classes = ("cat", "dog", "hämster")
    for row, values in zip(rows(Path("predictions.csv")), expected, strict=True):
        found = {row[f"class{rank}"]: float(row[f"probability{rank}"]) for rank in ("", 2, 3)}
        assert [found[name] for name in classes] == pytest.approx(list(values), abs=2e-6)
    exact = [float(row["probability"]) for row in rows(trained / "checkpoint.csv")]
    assert [float(row["probability"]) for row in rows(Path("predictions.csv"))] != pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("what", EXPORTS)
def test_a_file_is_identified_by_its_content_whatever_its_name(what: str, export: Export, tmp_path: Path) -> None:
    content = export(what).read_bytes()
    for name in ("model", "model.ckpt", "model.onnx", "model.pt", "model.pt2"):
        path = tmp_path / name
        path.write_bytes(content)
        assert identify(path) == EXPORTS[what]


def test_a_checkpoint_is_identified_whatever_its_name(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes((trained / BEST).read_bytes())
    assert identify(path) is None
    predictor = open_predictor(path, torch.device("cpu"))
    assert isinstance(predictor, CheckpointPredictor)
    checkpoint = torch.load(path, weights_only=True)
    torch.save(checkpoint, path)  # without the checksum
    assert identify(path) is None
    with zipfile.ZipFile(path, "w") as archive:  # with a checksum, and damaged
        archive.writestr("model/data.pkl", b"no pickle")
        archive.comment = checksum.MARKER
    assert identify(path) is None


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04", b"\x02\x00\x00\x00\x00\x00\x00\x00[]"])
def test_a_file_of_unknown_content_is_identified_by_its_name(content: bytes) -> None:
    for suffix, name in {**SUFFIXES, ".ckpt": None, "": None}.items():
        for path in (Path(f"model{suffix}"), Path(f"MODEL{suffix.upper()}")):
            path.write_bytes(content)
            assert identify(path) == name


@pytest.mark.parametrize("what", EXPORTS)
def test_a_truncated_file_is_named(what: str, export: Export, tmp_path: Path) -> None:
    original = export(what)
    path = tmp_path / original.name
    path.write_bytes(original.read_bytes())
    if (card := original.with_name("model_card.json")).exists():
        (tmp_path / card.name).write_bytes(card.read_bytes())
    truncate(path)
    said = user_error(open_predictor, path, torch.device("cpu"))
    assert str(path) in said
    assert said.startswith(str(path))


def test_the_suffixes_are_those_of_the_formats() -> None:
    for name in FORMATS:
        assert SUFFIXES[format_class(name)().suffix] == name
    assert set(SUFFIXES.values()) == set(FORMATS)


@pytest.mark.parametrize("name", ["onnx", "safetensors", "sparse"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    name: str, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(name)
    packages = format_class(name).packages
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    verb = "is" if len(packages) == 1 else "are"
    assert user_error(open_predictor, path, torch.device("cpu")) == (
        f"{path} needs {', '.join(packages)}, which {verb} not installed: run `pip install 'dasc[export]'`"
    )


def test_an_onnx_file_runs_on_the_cpu_unless_another_device_is_asked_for() -> None:
    path = write_graph(Path("model.onnx"), metadata())
    said = user_error(open_predictor, path, torch.device("cuda"))
    assert said == (
        "--device must be cpu for model.onnx, got cuda: the installed onnxruntime has no CUDAExecutionProvider; "
        "install onnxruntime-gpu in its place"
    )
    assert user_error(open_predictor, path, torch.device("mps")).startswith(
        "--device must be cpu or cuda for model.onnx"
    )
    assert open_predictor(path, torch.device("cuda"), or_cpu=True).title == "CifarResNet (onnx) on cpu"


def test_a_network_of_another_package_needs_trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "of_a_user.py").write_text("from dasc.networks import CifarResNet\nclass Mine(CifarResNet): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = model_of(CifarResNet(10, depth=8), size=8)
    described = replace(model.metadata, network={**model.metadata.network, "class_path": "of_a_user.Mine"})
    format_class("safetensors")().write(Model(model.network, described), Path("model.safetensors"))
    said = user_error(open_predictor, Path("model.safetensors"), torch.device("cpu"))
    assert said.endswith("add --trust of_a_user")
    assert "of_a_user" not in sys.modules
    predictor = open_predictor(Path("model.safetensors"), torch.device("cpu"), ["of_a_user"])
    assert predictor.title == "Mine (safetensors) on cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("what", ["safetensors", "sparse", "state_dict", "torch_export"])
def test_a_format_of_torch_runs_on_the_gpu(what: str, export: Export) -> None:
    path = export(what)
    device = torch.device("cuda")
    predictor = open_predictor(path, device)
    images = torch.randint(0, 256, (5, 3, *predictor.input_format.image_size), dtype=torch.uint8)
    before = torch.cuda.memory_allocated()
    assert before > 0
    expected = open_predictor(path, torch.device("cpu")).probabilities(images)
    torch.testing.assert_close(predictor.probabilities(images), expected, atol=1e-4, rtol=1e-4)
