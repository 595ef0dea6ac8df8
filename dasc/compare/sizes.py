"""Parameters and multiply-accumulates of a network or of an exported graph."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dasc.checkpoint import check_trusted
from dasc.errors import UserError
from dasc.export.card import JSON_FILE, Card, FileFacts
from dasc.export.metadata import Metadata
from dasc.networks import build_network, count, prunable_weights
from dasc.stages.structure import restore_structure

_WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators whose second input is a weight."""

_PASSING = ("DequantizeLinear", "Identity", "Reshape", "Transpose")
"""Operators between a stored weight and the operator that uses it."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network; None where one is unknown.

    Args:
        parameters: Number of parameters.
        nonzero_parameters: Parameters without zero weights of convolutions and linear layers.
        macs: Multiply-accumulates of one image.
    """

    parameters: int | None = None
    nonzero_parameters: int | None = None
    macs: int | None = None


class WeightCount(NamedTuple):
    """Weights of the convolutions and linear layers in a graph."""

    weights: int
    zeros: int


def sizes_of_network(network: nn.Module, image_size: tuple[int, int]) -> Sizes:
    """Return the sizes of a network for images of a height and width."""
    found = count(network, image_size)
    return Sizes(found.parameters, found.nonzero_parameters, found.macs)


def sizes_of_graph(path: Path, metadata: Metadata, counted: WeightCount | None, trust: Iterable[str] = ()) -> Sizes:
    """Return the sizes of a file that has a graph.

    Parameters and MACs are those of the network that its metadata describe. Zeros are those counted in the file, if
    it has all weights of that network. What is still unknown is that of the model card in the folder of the file, if
    the card has the SHA-256 of the file; the zeros in a card are not those of an int8 file.

    Args:
        path: The file.
        metadata: Its metadata.
        counted: The weights in the file; None if they were not counted.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.
    """
    of_card = _sizes_in_card(path)
    network = _untrained(path, metadata, trust)
    if network is None:
        return of_card
    sizes = sizes_of_network(network, metadata.input_format.image_size)
    assert sizes.parameters is not None
    weights = sum(weight.numel() for weight in prunable_weights(network).values())
    has_all = counted is not None and counted.weights == weights
    nonzero = sizes.parameters - counted.zeros if counted and has_all else of_card.nonzero_parameters
    return replace(sizes, nonzero_parameters=nonzero)


def count_weights(model: Any) -> WeightCount:
    """Count the stored weights of convolutions and linear layers in an ONNX graph, each once.

    Quantised weights are zero where they are equal to their zero point.

    Args:
        model: The `onnx.ModelProto`, with its weights inside.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found: dict[str, WeightCount] = {}
    for node in model.graph.node:
        if node.op_type not in _WEIGHTED:
            continue
        name, zero_point = _stored_weight(node.input[1], makers)
        if name not in stored or (zero_point and zero_point not in stored):
            continue
        values = numpy_helper.to_array(stored[name])
        zeros = values == 0
        if zero_point:
            point = numpy_helper.to_array(stored[zero_point])
            if point.any():
                continue  # weights are quantised symmetrically by dasc
        found[name] = WeightCount(values.size, int(zeros.sum()))
    return WeightCount(sum(c.weights for c in found.values()), sum(c.zeros for c in found.values()))


def is_quantised(model: Any) -> bool:
    """Return whether an ONNX graph (`onnx.ModelProto`) has quantised values."""
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


def _stored_weight(name: str, makers: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the tensor that a value is made of, and that of its zero point or ''."""
    zero_point = ""
    while name in makers and makers[name].op_type in _PASSING:
        node = makers[name]
        if node.op_type == "DequantizeLinear" and len(node.input) > 2:
            zero_point = node.input[2]
        name = node.input[0]
    return name, zero_point


def _untrained(path: Path, metadata: Metadata, trust: Iterable[str]) -> nn.Module | None:
    """Return the network that metadata describe; None if it cannot be built."""
    with suppress(Exception), torch.random.fork_rng(devices=[]):  # whatever a constructor makes of wrong arguments
        check_trusted(path, metadata.network["class_path"], trust)
        network = build_network(dict(metadata.network))
        restore_structure(network, metadata.structure)
        return network.eval()
    return None


def listed_in_card(path: Path) -> tuple[Card, FileFacts] | None:
    """Return the model card in the folder of a file and what it says of the file, by the SHA-256 of the file."""
    with suppress(UserError):
        card = Card.read(path.with_name(JSON_FILE))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for listed in card.files:
            if listed.sha256 == digest:
                return card, listed
    return None


def _sizes_in_card(path: Path) -> Sizes:
    found = listed_in_card(path)
    if found is None:
        return Sizes()
    card, listed = found
    nonzero = None if listed.format == "int8" else card.network.nonzero_parameters
    return Sizes(card.network.parameters, nonzero, card.network.macs)
