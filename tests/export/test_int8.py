import logging
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.export.int8 import Int8Check, calibration_indices, check_max_drop, quantise
from tests.support.exported import images_of, model_of


class _Small(nn.Module):
    """A depthwise separable network, with normalisation and softmax where `preprocess`."""

    def __init__(self, preprocess: bool) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1), nn.ReLU())
        self.linear = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        if self.preprocess:
            images = (images.float() / 255 - 0.47) / 0.25
        features = self.stem(images)
        logits: Tensor = self.linear((features + self.block(features)).mean((2, 3)))
        return logits.softmax(1) if self.preprocess else logits


class Exported(NamedTuple):
    source: Path
    output: Path
    batches: list[Tensor]

    def run(self, path: Path, images: Tensor) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        outputs: np.ndarray = session.run(None, {"images": images.numpy()})[0]
        return outputs


def _export(folder: Path, preprocess: bool) -> Exported:
    model = model_of(_Small(preprocess), size=8, preprocess=preprocess)
    images = images_of(model, 96)
    program = torch.onnx.export(
        model.network,
        (images[:2],),
        dynamo=True,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"],
        output_names=["outputs"],
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"dasc": "1", "classes": '["é"]'})
    onnx.save(proto, folder / "model.onnx")
    result = Exported(folder / "model.onnx", folder / "model.int8.onnx", list(images.split(32)))
    quantise(result.source, result.output, iter(result.batches))
    return result


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _export(tmp_path_factory.mktemp("plain"), preprocess=False)


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _export(tmp_path_factory.mktemp("preprocessed"), preprocess=True)


@pytest.fixture(params=["plain", "preprocessed"])
def exported(request: pytest.FixtureRequest) -> Exported:
    result: Exported = request.getfixturevalue(request.param)
    return result


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _nodes(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def test_a_quantised_file_has_the_inputs_outputs_and_metadata_of_its_source(exported: Exported) -> None:
    before, after = onnx.load(exported.source), onnx.load(exported.output)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert {entry.key: entry.value for entry in after.metadata_props} == {"dasc": "1", "classes": '["é"]'}
    onnx.checker.check_model(after)


def test_outputs_of_a_quantised_file_are_near_those_of_its_source(exported: Exported) -> None:
    images = torch.cat(exported.batches)[:70]
    before, after = (exported.run(path, images) for path in (exported.source, exported.output))
    assert 0 < np.abs(before - after).max() < 0.05 * before.std()


def test_weights_are_int8_with_a_scale_for_each_output_channel(exported: Exported) -> None:
    source, model = onnx.load(exported.source), onnx.load(exported.output)
    before, after = _constants(source), _constants(model)
    weights = [node.input[1] for kind in ("Conv", "Gemm") for node in _nodes(source, kind)]
    assert len(weights) == 4
    for name in weights:
        integers, scale, zero = (after[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point"))
        assert integers.dtype == np.int8
        assert scale.shape == before[name].shape[:1]
        assert not zero.any()
        assert np.abs(integers.astype(int)).max() <= 64
        by_channel = scale.reshape(-1, *[1] * (integers.ndim - 1))
        assert (np.abs(integers * by_channel - before[name]) <= 0.5001 * by_channel).all()
        largest = np.abs(before[name]).reshape(len(scale), -1).max(1)
        np.testing.assert_allclose(scale, largest / 64, rtol=0.02)


def test_zeros_remain_zeros(tmp_path: Path, plain: Exported) -> None:
    model = onnx.load(plain.source)
    name = _nodes(model, "Gemm")[0].input[1]
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[:, ::2] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "pruned.onnx")
    quantise(tmp_path / "pruned.onnx", tmp_path / "pruned.int8.onnx", plain.batches)
    integers = _constants(onnx.load(tmp_path / "pruned.int8.onnx"))[f"{name}_quantized"]
    assert not integers[:, ::2].any()
    assert integers[:, 1::2].any()


def test_the_range_of_the_first_layer_is_that_of_the_normalised_batches(exported: Exported) -> None:
    model = onnx.load(exported.output)
    images = torch.cat(exported.batches)
    if images.dtype == torch.uint8:
        images = (images.double() / 255 - 0.47) / 0.25
    scale, zero = (_constants(model)[name] for name in _nodes(model, "QuantizeLinear")[0].input[1:])
    assert zero.dtype == np.uint8
    np.testing.assert_allclose(scale, float(images.max() - images.min()) / 255, rtol=1e-4)
    assert abs(int(zero) + float(images.min()) / float(scale)) <= 0.51


def test_normalisation_softmax_and_logits_remain_float32(exported: Exported) -> None:
    before, after = onnx.load(exported.source), onnx.load(exported.output)
    kinds = ["Cast", "Div", "Sub", "Softmax"]
    assert [len(_nodes(after, kind)) for kind in kinds] == [len(_nodes(before, kind)) for kind in kinds]
    quantised = {node.output[0]: node.input[0] for node in _nodes(after, "DequantizeLinear")}
    for kind in kinds:
        for node in _nodes(after, kind):
            assert quantised.keys().isdisjoint(node.input)
    (gemm,) = _nodes(after, "Gemm")
    assert all(gemm.output[0] != node.input[0] for node in _nodes(after, "QuantizeLinear"))
    assert len(_nodes(after, "QuantizeLinear")) == 6  # input, stem, two convolutions, sum, mean


def test_another_process_writes_the_same_bytes_and_prints_nothing(tmp_path: Path, plain: Exported) -> None:
    torch.save(plain.batches, tmp_path / "batches.pt")
    code = (
        "import sys, torch; from pathlib import Path; from dasc.export.int8 import quantise; "
        "source, output, batches = sys.argv[1:]; quantise(Path(source), Path(output), torch.load(batches))"
    )
    output = tmp_path / "again.onnx"
    done = subprocess.run(
        [sys.executable, "-c", code, plain.source, output, tmp_path / "batches.pt"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert output.read_bytes() == plain.output.read_bytes()


def test_no_file_and_no_log_handler_is_left_if_calibration_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Exported
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    seen: list[Path] = []

    def batches() -> Iterator[Tensor]:
        yield plain.batches[0]
        seen.extend(temporary.iterdir())
        raise OSError("unreadable image")

    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters))
    with pytest.raises(OSError, match="unreadable image"):
        quantise(plain.source, tmp_path / "new.onnx", batches())
    assert seen
    assert not list(temporary.iterdir())
    assert not (tmp_path / "new.onnx").exists()
    assert (root.handlers, root.filters) == before
    assert sorted(path.name for path in plain.source.parent.iterdir()) == ["model.int8.onnx", "model.onnx"]


def test_one_batch_at_a_time_is_in_memory(tmp_path: Path, plain: Exported) -> None:
    batches: list[weakref.ref[Tensor]] = []
    alive = []

    def read() -> Iterator[Tensor]:
        for _ in range(6):
            batch = plain.batches[0].clone()
            batches.append(weakref.ref(batch))
            yield batch
            del batch
            alive.append(sum(reference() is not None for reference in batches))

    quantise(plain.source, tmp_path / "new.onnx", read())
    assert len(alive) == 6
    assert max(alive) <= 1


def test_calibration_without_images_is_an_error(tmp_path: Path, plain: Exported) -> None:
    with pytest.raises(UserError, match=r"^the calibration images must be at least one, got none"):
        quantise(plain.source, tmp_path / "new.onnx", [])


@pytest.mark.parametrize(("kind", "factor"), [("Conv", np.inf), ("Conv", 1e30), ("Gemm", np.nan)])
def test_a_network_with_values_that_are_not_finite_is_an_error(
    tmp_path: Path, plain: Exported, kind: str, factor: float
) -> None:
    model = onnx.load(plain.source)
    weights = [node.input[1] for node in _nodes(model, kind)]
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "infinite.onnx")
    with pytest.raises(UserError, match=r"infinite\.onnx cannot be quantised \(.+\): leave out --int8$"):
        quantise(tmp_path / "infinite.onnx", tmp_path / "new.onnx", plain.batches)
    assert not (tmp_path / "new.onnx").exists()


def test_the_calibration_sample_has_distinct_images_and_depends_on_the_seed() -> None:
    sample = calibration_indices(5000, 512)
    assert len(set(sample.tolist())) == 512
    assert sample.tolist() == sorted(sample.tolist())
    assert 0 <= sample[0] < 100
    assert 4900 <= sample[-1] < 5000
    assert torch.equal(sample, calibration_indices(5000, 512, seed=0))
    assert not torch.equal(sample, calibration_indices(5000, 512, seed=1))


def test_the_calibration_sample_is_all_images_of_a_small_set() -> None:
    assert calibration_indices(7, 512).tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("correct", "is_kept"), [(980, True), (970, True), (969, False), (999, True)])
def test_a_file_is_kept_up_to_the_allowed_drop(correct: int, is_kept: bool) -> None:
    assert Int8Check(980, correct, 1000, max_drop=1).is_kept is is_kept


def test_a_drop_that_is_allowed_exactly_is_not_lost_to_rounding() -> None:
    for images in (7, 100, 288, 5000):
        for lost in range(1, 5):
            assert Int8Check(images, images - lost, images, max_drop=100 * lost / images).is_kept


def test_the_decision_has_both_accuracies_with_their_intervals() -> None:
    assert Int8Check(970, 940, 1000, max_drop=1).sentence("net.int8.onnx") == (
        "net.int8.onnx: accuracy 94.00 % (92.4 to 95.3 %), 3.00 points below the 97.00 % (95.7 to 97.9 %) in float32 "
        "(95 % intervals, 1,000 images); not kept: it loses more than --max_drop 1"
    )
    assert Int8Check(970, 970, 1000, max_drop=1).sentence("net.int8.onnx") == (
        "net.int8.onnx: accuracy 97.00 % (95.7 to 97.9 %), equal to the 97.00 % (95.7 to 97.9 %) in float32 "
        "(95 % intervals, 1,000 images)"
    )
    assert Int8Check(970, 971, 1000, max_drop=1).sentence("net.int8.onnx") == (
        "net.int8.onnx: accuracy 97.10 % (95.9 to 98.0 %), 0.10 points above the 97.00 % (95.7 to 97.9 %) in float32 "
        "(95 % intervals, 1,000 images)"
    )


@pytest.mark.parametrize("value", [-0.1, 100.1, float("nan")])
def test_an_impossible_drop_is_an_error(value: float) -> None:
    with pytest.raises(UserError, match=rf"^--max_drop must be from 0 to 100 percentage points, got {value:g}"):
        check_max_drop(value)
    check_max_drop(0)
    check_max_drop(100)
