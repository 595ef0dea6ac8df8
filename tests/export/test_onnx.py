"""Files of the format onnx."""

import dataclasses
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import dasc
from dasc.errors import UserError
from dasc.export.format import Model
from dasc.export.metadata import Metadata
from dasc.export.onnx_file import OnnxFormat
from tests.support.exported import model_of
from tests.support.exported_networks import Branching, Tiny, cases, check_outputs, make


@pytest.fixture(scope="module", params=cases())
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    model = make(*request.param)
    path = tmp_path_factory.mktemp("onnx") / "a.onnx"
    OnnxFormat().write(model, path)
    return model, path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    OnnxFormat().write(model_of(Tiny(), 8), path)
    return path


def test_a_file_agrees_with_the_network(written: tuple[Model, Path]) -> None:
    model, path = written
    check_outputs(model, OnnxFormat().open(path), model.metadata.preprocess)


def test_a_file_has_the_metadata_and_one_input_and_output_with_a_dynamic_batch(written: tuple[Model, Path]) -> None:
    model, path = written
    assert Metadata.from_strings(OnnxFormat().read_metadata(path), path) == model.metadata
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,), (output,) = session.get_inputs(), session.get_outputs()
    kind = "tensor(uint8)" if model.metadata.preprocess else "tensor(float)"
    assert (image.name, image.shape, image.type) == (
        "images",
        ["batch", 3, *model.metadata.input_format.image_size],
        kind,
    )
    name = "probabilities" if model.metadata.preprocess else "logits"
    assert (output.name, output.shape, output.type) == (name, ["batch", 10], "tensor(float)")
    assert [entry.name for entry in path.parent.iterdir()] == ["a.onnx"]


def test_a_file_has_no_batchnorm_and_no_trace_of_the_source(written: tuple[Model, Path]) -> None:
    model, path = written
    proto = onnx.load(path)
    assert not [node for node in proto.graph.node if node.op_type == "BatchNormalization"]
    assert not [node for node in proto.graph.node if node.metadata_props or node.doc_string]
    content = path.read_bytes()
    assert str(Path(dasc.__file__).parent).encode() not in content
    assert b"pkg." not in content
    weights = 4 * sum(parameter.numel() for parameter in model.network.parameters())
    assert len(content) < weights + 150 * len(proto.graph.node) + 2000


def test_exporting_prints_nothing_and_restores_global_state(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def state() -> list[Any]:
        levels = {name: logging.getLogger(name).level for name in ("", "torch", "torch.onnx", "onnxscript")}
        handlers = [list(logging.getLogger(name).handlers) for name in ("", "torch.onnx", "onnxscript")]
        return [list(warnings.filters), warnings.showwarning, levels, handlers, logging.root.manager.disable]

    before = state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        OnnxFormat().write(model_of(Tiny(), 8), tmp_path / "a.onnx")
        OnnxFormat().open(tmp_path / "a.onnx")
    assert not caught
    assert not [record for record in caplog.records if record.name != "torch.__trace"]  # an internal record
    assert capfd.readouterr() == ("", "")
    assert state() == before


def test_the_threads_are_those_of_onnx_runtime(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    real = onnxruntime.InferenceSession

    def session(*arguments: Any, **options: Any) -> Any:
        made = real(*arguments, **options)
        found.append((made.get_session_options().intra_op_num_threads, made.get_providers()))
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    before = torch.get_num_threads()
    OnnxFormat().open(tiny, threads=2)
    assert found == [(2, ["CPUExecutionProvider"])]
    assert torch.get_num_threads() == before


def test_a_network_that_cannot_be_traced_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Branching cannot be exported to ONNX") as raised:
        OnnxFormat().write(model_of(Branching(), 8), tmp_path / "a.onnx")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "last byte": lambda content: content[:-1],
    "text": lambda content: b"no ONNX file",
    "random": lambda content: np.random.default_rng(0).bytes(1000),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_ends_in_one_sentence(damage: str, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(DAMAGE[damage](tiny.read_bytes()))
    for call in (OnnxFormat().open, OnnxFormat().read_metadata):
        with pytest.raises(UserError, match=r"a.onnx is no ONNX file, or it is truncated: export it again"):
            call(path)


def test_missing_files_and_folders_end_in_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(UserError, match=f"{path} cannot be read"):
            OnnxFormat().open(path)


def outside(proto: Any) -> None:
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "../secret")
    proto.graph.initializer[0].ClearField("raw_data")


def outside_in_a_subgraph(proto: Any) -> None:
    node = proto.graph.node.add(op_type="If", input=["x"], output=["y"])
    tensor = onnx.TensorProto(name="hidden", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    graph = onnx.helper.make_graph([], "branch", [], [], [tensor])
    node.attribute.append(onnx.helper.make_attribute("then_branch", graph))


def another_operator(proto: Any) -> None:
    proto.graph.node[0].op_type = "Nothing"


def another_name(proto: Any) -> None:
    proto.graph.input[0].name = "pixels"
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "pixels" if name == "images" else name


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "external data": (outside, "must have its weights inside, but it names other files"),
    "external data of a subgraph": (outside_in_a_subgraph, "must have its weights inside, but it names other files"),
    "unknown operator": (another_operator, "a.onnx cannot be run by ONNX Runtime"),
    "another input": (another_name, "a.onnx must map images to logits or probabilities, got pixels to logits"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_foreign_file_ends_in_one_sentence(
    change: str, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "a.onnx"
    (tmp_path / "secret").write_bytes(bytes(1000))
    proto = onnx.load(tiny)
    CHANGES[change][0](proto)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match=CHANGES[change][1]) as raised:
        OnnxFormat().open(path)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_images_of_another_size_end_in_one_sentence(tiny: Path) -> None:
    with pytest.raises(
        UserError, match=r"tiny.onnx must be run on images of the shape \[batch, 3, 8, 8\], got \[1, 3, 9, 9\]"
    ):
        OnnxFormat().open(tiny)(torch.zeros(1, 3, 9, 9))


def test_preprocessing_is_in_the_file_only_if_the_metadata_say_so() -> None:
    model = model_of(Tiny(), 8)
    assert OnnxFormat().reference(model) is model.network
    before = dataclasses.replace(model, metadata=dataclasses.replace(model.metadata, preprocess=True))
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    pipeline = model.metadata.input_format.pipeline(10, torch.device("cpu"))
    module = OnnxFormat().reference(before)
    assert not module.training
    with torch.no_grad():
        assert torch.equal(module(images), model.network(pipeline.normalise(images)).softmax(1))
