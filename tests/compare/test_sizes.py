"""Parameters and zeros of exported graphs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dasc.compare.sizes import Sizes, WeightCount, count_weights, is_quantised, sizes_of_graph
from dasc.export.metadata import Metadata
from dasc.export.onnx_file import OnnxFormat

RUN = Path("lightning_logs", "version_0")


def weights(*shape: int, zeros: int, dtype: type = np.float32) -> npt.NDArray[np.generic]:
    values = np.arange(1, np.prod(shape) + 1)
    values[:zeros] = 0
    return values.reshape(shape).astype(dtype)


def graph(zero_point: int = 0) -> onnx.ModelProto:
    """A graph with a quantised convolution, two uses of one convolution, a linear layer, and a product of values."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["w1"], axis=0),
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Conv", ["a", "w2"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"]),
        helper.make_node("Transpose", ["w3"], ["w3t"]),
        helper.make_node("Gemm", ["c", "w3t", "bias"], ["d"]),
        helper.make_node("MatMul", ["d", "d"], ["y"]),
    ]
    stored = {
        "q": weights(4, 3, 2, 2, zeros=7, dtype=np.int8),
        "scale": np.ones(4, np.float32),
        "point": np.full(4, zero_point, np.int8),
        "w2": weights(4, 4, 1, 1, zeros=5),
        "w3": weights(10, 4, zeros=3),
        "bias": np.zeros(10, np.float32),
    }
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    return helper.make_model(helper.make_graph(nodes, "graph", [value], [value], tensors))


def test_weights_of_a_graph_are_counted_once() -> None:
    assert count_weights(graph()) == WeightCount(48 + 16 + 40, 7 + 5 + 3)
    assert is_quantised(graph())


def test_weights_with_another_zero_point_are_not_counted() -> None:
    assert count_weights(graph(zero_point=3)) == WeightCount(16 + 40, 5 + 3)


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    """A copy of the ONNX file of a run, with its model card."""
    for name in ("model.onnx", "model.int8.onnx", "model_card.json"):
        shutil.copy(run / RUN / "export" / name, tmp_path)
    return tmp_path / "model.onnx"


def facts_in(card: Path) -> Sizes:
    network = json.loads(card.read_text())["network"]
    return Sizes(network["parameters"], network["nonzero_parameters"], network["macs"])


def metadata_of(path: Path) -> Metadata:
    return Metadata.from_strings(OnnxFormat().read_metadata(path), path)


def test_zeros_are_those_in_the_file_or_else_those_of_its_model_card(exported: Path) -> None:
    described, card = metadata_of(exported), exported.with_name("model_card.json")
    counted = count_weights(onnx.load(str(exported)))
    facts = facts_in(card)
    for known in (counted, None, WeightCount(counted.weights - 1, 0)):
        assert sizes_of_graph(exported, described, known) == facts
    exported.write_bytes(exported.read_bytes() + b"\n")  # the card is of another file now
    assert sizes_of_graph(exported, described, counted) == facts
    assert sizes_of_graph(exported, described, None) == replace(facts, nonzero_parameters=None)
    card.write_text("damaged")
    assert sizes_of_graph(exported, described, None) == replace(facts, nonzero_parameters=None)


def test_a_network_that_cannot_be_built_has_the_sizes_of_its_model_card_or_none(exported: Path) -> None:
    described, card = metadata_of(exported), exported.with_name("model_card.json")
    unknown = replace(described, network={"class_path": "mine.Network", "init_args": {}})
    assert sizes_of_graph(exported, unknown, WeightCount(1, 1)) == facts_in(card)
    card.unlink()
    assert sizes_of_graph(exported, unknown, WeightCount(1, 1)) == Sizes()


def test_the_zeros_in_a_model_card_are_not_those_of_an_int8_file(exported: Path) -> None:
    file, facts = exported.with_name("model.int8.onnx"), facts_in(exported.with_name("model_card.json"))
    assert sizes_of_graph(file, metadata_of(file), None) == replace(facts, nonzero_parameters=None)
