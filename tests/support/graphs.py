"""Small ONNX files that no exporter wrote."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dasc.export.metadata import Metadata
from dasc.networks import CifarResNet
from tests.support.exported import model_of


def metadata(size: int = 8, preprocess: bool = False) -> Metadata:
    """Return the description of a network with 10 classes."""
    return model_of(CifarResNet(10, depth=8), size, preprocess).metadata


def write_graph(
    path: Path, described: Metadata | None, outputs: int = 10, size: int = 8, batch: int | str = "batch"
) -> Path:
    """Write a graph that maps the mean of each channel to outputs.

    Args:
        path: The file.
        described: Its metadata; None: it has none.
        outputs: Number of outputs.
        size: Height and width that the graph takes.
        batch: Number of images that the graph takes; a name: any number.
    """
    is_preprocessed = described is not None and described.preprocess
    kind, name = (TensorProto.UINT8, "probabilities") if is_preprocessed else (TensorProto.FLOAT, "logits")
    weights = np.random.default_rng(0).standard_normal((3, outputs)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["float"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [name]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", kind, [batch, 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    if described is not None:
        helper.set_model_props(model, described.to_strings())
    onnx.save(model, path)
    return path
