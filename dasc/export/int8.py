"""Static int8 quantisation of an ONNX file by ONNX Runtime."""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from dasc.errors import UserError, one_line
from dasc.metrics import CONFIDENCE, proportion_interval

SUFFIX = ".int8.onnx"
"""End of the name of a quantised file."""

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_MARK = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Metadata that ONNX Runtime looks for before it advises to fold BatchNorm, which the exporter did."""


@dataclass(frozen=True)
class Int8Check:
    """Correct images of a file before and after quantisation, and the decision whether the int8 file is kept.

    Args:
        correct_before: Correct images of the float32 file, in [0, images].
        correct_after: Correct images of the int8 file, in [0, images].
        images: Number of images, at least 1; both files are scored on the same ones.
        max_drop: Largest loss of accuracy of a file that is kept, in percentage points.
    """

    correct_before: int
    correct_after: int
    images: int
    max_drop: float

    @property
    def drop(self) -> float:
        """Loss of accuracy in percentage points; negative if the int8 file is better."""
        return 100 * (self.correct_before - self.correct_after) / self.images

    @property
    def is_kept(self) -> bool:
        """Whether the loss is at most `max_drop`."""
        return self.drop <= self.max_drop

    def sentence(self, name: object) -> str:
        """Return the decision with both accuracies and their Wilson intervals.

        Args:
            name: Name of the int8 file.
        """
        before, after = (_accuracy(correct, self.images) for correct in (self.correct_before, self.correct_after))
        change = f"{abs(self.drop):.2f} points {'below' if self.drop > 0 else 'above'}" if self.drop else "equal to"
        sentence = (
            f"{name}: accuracy {after}, {change} the {before} in float32 ({CONFIDENCE * 100:g} % intervals, "
            f"{self.images:,} images)"
        )
        if self.is_kept:
            return sentence
        return f"{sentence}; not kept: it loses more than --max_drop {self.max_drop:g}"


def check_max_drop(max_drop: float) -> None:
    """Check the largest loss of accuracy of a file that is kept.

    Raises:
        UserError: It is not in [0, 100].
    """
    if not 0 <= max_drop <= 100:
        raise UserError(f"--max_drop must be from 0 to 100 percentage points, got {max_drop:g}: use 1 for one point")


def calibration_indices(count: int, size: int, seed: int = 0) -> Tensor:
    """Return the indices of the images that calibrate, a sample without replacement.

    Args:
        count: Number of training images.
        size: Number of images of the sample; all images if there are fewer.
        seed: Seed of the sample.

    Returns:
        int64 (min(size, count),), ascending.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:size].sort().values


def quantise(source: Path, output: Path, batches: Iterable[Tensor]) -> None:
    """Write the int8 version of an ONNX file: QDQ format, weights int8 per channel, activations uint8 per tensor.

    The ranges of the activations are the smallest and the largest value in the batches. What precedes the first
    weighted layer, such as the normalisation, the softmax, and the logits remain float32. Weights have 7 bits: CPUs
    without VNNI add two 8-bit products in 16 bits, which saturate, so that the outputs would depend on the CPU.
    Activations are uint8 because ONNX Runtime on x86-64 runs int8 ones in float32. Only the ranges are kept of a batch.

    Args:
        source: The float32 file, with one input, BatchNorm folded and its weights inside.
        output: The new file, with the metadata of `source`. The same input gives the same bytes.
        batches: Batches as the file takes them: normalised float32 or uint8, (B, 3, H, W).

    Raises:
        UserError: There is no batch, or ONNX Runtime cannot quantise the file, such as one with infinite activations.
    """
    import onnx

    model = onnx.load(str(source))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"  # nodes are excluded by their names
    onnx.helper.set_model_props(model, {**metadata, _MARK[0]: _MARK[1]})
    reader = _Reader(model.graph.input[0].name, batches)
    with TemporaryDirectory(prefix="dasc-int8-") as folder, _silence():
        marked, quantised = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(marked))  # ONNX Runtime writes further files beside it
        try:
            _quantise(marked, quantised, reader, _excluded(model.graph))
            result = onnx.load(str(quantised))
            _check_scales(result.graph)
        except Exception as error:  # ONNX Runtime's own classes have no public base class
            if error is reader.error or isinstance(error, OSError):
                raise
            text = f"{type(error).__name__}: {one_line(error)[:200]}"
            raise UserError(f"{source} cannot be quantised ({text}): leave out --int8") from None
    onnx.helper.set_model_props(result, metadata)
    output.write_bytes(result.SerializeToString(deterministic=True))


class _Reader:
    """Feeds batches to ONNX Runtime, one at a time; a `CalibrationDataReader` by its methods.

    Args:
        name: Name of the input.
        batches: The batches.

    Attributes:
        error: What reading a batch raised.
    """

    def __init__(self, name: str, batches: Iterable[Tensor]) -> None:
        self.error: Exception | None = None
        self._name = name
        self._batches = iter(batches)
        self._count = 0

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch by the name of the input; None after the last one."""
        try:
            batch = next(self._batches, None)
            if batch is None and not self._count:
                raise UserError("the calibration images must be at least one, got none: use a data set with images")
        except Exception as error:
            self.error = error
            raise
        self._count += 1
        return None if batch is None else {self._name: batch.numpy()}


def _quantise(source: Path, output: Path, reader: _Reader, excluded: list[str]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        str(source),
        str(output),
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        calibrate_method=CalibrationMethod.MinMax,
        # no CalibMaxIntermediateOutputs: with it, ONNX Runtime 1.32 drops ranges, and one batch has two numbers each
        extra_options={"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )


def _excluded(graph: Any) -> list[str]:
    """Return the names of the nodes that remain float32: those before the first weighted layer, and the softmax."""
    after: set[str] = set()
    names = []
    for node in graph.node:  # sorted topologically, as ONNX demands
        is_after = node.op_type in _WEIGHTED or not after.isdisjoint(node.input)
        if is_after:
            after.update(node.output)
        if not is_after or node.op_type == "Softmax":
            names.append(node.name)
    return names


def _check_scales(graph: Any) -> None:
    """Raise a ValueError if a scale is not finite."""
    from onnx import numpy_helper

    scales = {node.input[1] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    values = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in scales]
    if not all(math.isfinite(value) for scale in values for value in scale.reshape(-1).tolist()):
        raise ValueError("weights or activations are NaN or infinite")


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what ONNX Runtime's quantisation warns of and logs; it uses the root logger."""
    root = logging.getLogger()
    handler = logging.NullHandler()  # without a handler, logging.warning() would install one for good
    root.addHandler(handler)
    root.addFilter(_refuse)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of ranges that are NaN
            yield
    finally:
        root.removeFilter(_refuse)
        root.removeHandler(handler)


def _refuse(record: logging.LogRecord) -> bool:
    return False


def _accuracy(correct: int, images: int) -> str:
    low, high = (100 * bound for bound in proportion_interval(correct / images, images))
    return f"{100 * correct / images:.2f} % ({low:.1f} to {high:.1f} %)"
