"""Sparse files give the network back, and are smaller."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dasc.export import load_sparse
from dasc.export.format import Model
from dasc.export.layout import DTYPES, PREFIX, parse_header, write_parts
from dasc.export.sparse import KEY, check, decode_into, encode, plan
from dasc.export.sparse_file import SparseFormat
from dasc.networks import (
    CifarMobileNetV2,
    CifarResNet,
    CifarShuffleNetV2,
    TorchvisionNetwork,
    prunable_weights,
    set_auxiliary_blocks,
)
from tests.support.errors import user_error
from tests.support.exported import images_of, model_of

State = dict[str, Tensor]

FORMATS = [(False, False), (False, True), (True, False), (True, True)]


class Halved(CifarResNet):
    """A class of a module that is not trusted."""


def small(sparsity: float = 0.9) -> Model:
    return model_of(CifarResNet(10, depth=8), sparsity=sparsity)


def with_blocks() -> nn.Module:
    network = CifarResNet(10, depth=8, shortcut="B")
    set_auxiliary_blocks(network, 1)
    return network


def write(form: SparseFormat, model: Model) -> Path:
    path = Path(f"network{form.suffix}")
    form.write(model, path)
    return path


def assert_equal(state: State, expected: State) -> None:
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize(("float16", "zstd"), FORMATS)
@pytest.mark.parametrize(
    "make",
    [
        with_blocks,
        lambda: CifarShuffleNetV2(10, width="x0_5"),
        lambda: CifarMobileNetV2(10, width=0.25),
        lambda: TorchvisionNetwork(10, "squeezenet1_1"),
    ],
)
def test_the_loaded_network_has_equal_outputs(make: Callable[[], nn.Module], float16: bool, zstd: bool) -> None:
    model = model_of(make(), sparsity=0.8)
    images = images_of(model, 2)
    expected = model.network(images)
    form = SparseFormat(float16, zstd)
    path = write(form, model)
    assert str(path).endswith(".sparse.safetensors.zst" if zstd else ".sparse.safetensors")
    network = load_sparse(path)
    assert not network.training
    assert_equal(network.state_dict(), form.reference(model).state_dict())
    outputs = network(images)
    assert torch.equal(outputs, form.reference(model)(images))
    assert torch.equal(outputs, form.open(path)(images))
    assert torch.equal(model.network(images), expected)
    assert torch.equal(outputs, expected) != float16
    assert form.read_metadata(path).items() >= model.metadata.to_strings().items()


def read_with_safetensors(path: Path) -> State:
    """Decode a file with the package safetensors and a loop over the bits."""
    with safe_open(path, framework="pt") as file:
        original = json.loads(file.metadata()["sparse"])["tensors"]
    stored = load_file(path)
    state = {}
    for name in {key.removesuffix(".bitmask").removesuffix(".values") for key in stored}:
        if name in stored:
            state[name] = stored[name].to(DTYPES[original.get(name, {}).get("dtype", "F32")])
            continue
        shape, values = original[name]["shape"], iter(stored[f"{name}.values"].tolist())
        bits = [byte >> (7 - bit) & 1 for byte in stored[f"{name}.bitmask"].tolist() for bit in range(8)]
        elements = [next(values) if bit else 0.0 for bit in bits[: math.prod(shape)]]
        state[name] = torch.tensor(elements).reshape(shape)
        assert not any(bits[math.prod(shape) :])
        assert next(values, None) is None
    return state


@pytest.mark.parametrize("float16", [False, True])
def test_the_package_safetensors_reads_the_file(float16: bool) -> None:
    model, form = small(), SparseFormat(float16)
    state = read_with_safetensors(write(form, model))
    expected = {name: t for name, t in form.reference(model).state_dict().items() if t.dtype == torch.float32}
    assert state.keys() == model.network.state_dict().keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


def dense_bytes(model: Model) -> int:
    save_file(model.network.state_dict(), "dense.safetensors", metadata=model.metadata.to_strings())
    return Path("dense.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("sparsity", "form", "share"),
    [
        (0.9, SparseFormat(), 0.16),
        (0.9, SparseFormat(zstd=True), 0.12),
        (0.9, SparseFormat(float16=True), 0.11),
        (0.9, SparseFormat(float16=True, zstd=True), 0.08),
        (0.6, SparseFormat(), 0.5),
    ],
)
def test_zeros_make_the_file_smaller(sparsity: float, form: SparseFormat, share: float) -> None:
    model = model_of(CifarResNet(10, depth=20), sparsity=sparsity)
    assert write(form, model).stat().st_size < share * dense_bytes(model)


@pytest.mark.parametrize("sparsity", [0.0, 0.03, 0.05])
def test_a_bitmask_is_written_only_where_it_saves_bytes(sparsity: float) -> None:
    model = small(sparsity)
    path = write(SparseFormat(), model)
    assert path.stat().st_size <= dense_bytes(model) + 100
    if sparsity == 0:
        assert load_file(path).keys() == model.network.state_dict().keys()


def test_float16_is_for_the_weights_of_convolutions_and_linear_layers_only() -> None:
    model = small(0.0)
    stored = load_file(write(SparseFormat(float16=True), model))
    weights = prunable_weights(model.network)
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.float16} == weights.keys()


@pytest.mark.parametrize("value", [65520.0, -1e30])
def test_a_weight_over_the_range_of_float16_is_an_error_before_anything_is_written(value: float) -> None:
    model = small()
    with torch.no_grad():
        model.network.get_parameter("fc.weight")[1, 2] = value
    form, path = SparseFormat(float16=True), Path("network")
    message = (
        f"the values of fc.weight must be at most 65504 to be stored as float16, got {abs(value):g}: "
        "export it with float32 values"
    )
    assert user_error(form.write, model, path) == message
    assert user_error(form.reference, model) == message
    assert not path.exists()
    with torch.no_grad():
        model.network.get_parameter("fc.weight")[1, 2] = 65519.0
    assert load_sparse(write(form, model)).get_parameter("fc.weight")[1, 2] == 65504


def test_values_that_are_no_numbers_and_large_counters_are_kept() -> None:
    model = small()
    counter = model.network.get_buffer("bn1.num_batches_tracked")
    counter.fill_(2**53 + 1)
    with torch.no_grad():
        model.network.get_parameter("fc.weight")[0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    for float16, zstd in FORMATS:
        network = load_sparse(write(SparseFormat(float16, zstd), model))
        assert torch.equal(network.get_buffer("bn1.num_batches_tracked"), counter)
        values = network.get_parameter("fc.weight")[0, :3].tolist()
        assert math.isnan(values[0])
        assert values[1:] == [math.inf, -math.inf]


def test_negative_zeros_are_not_stored() -> None:
    model = small()
    weight = model.network.get_parameter("layer3.0.conv2.weight")
    with torch.no_grad():
        weight.copy_(torch.where(weight == 0, -0.0, weight))
    assert weight.signbit().sum() > weight.numel() * 0.9
    path = write(SparseFormat(), model)
    assert load_file(path)["layer3.0.conv2.weight.values"].numel() == weight.count_nonzero()
    images = images_of(model)
    assert torch.equal(load_sparse(path)(images), model.network(images))


def test_equal_models_give_equal_bytes() -> None:
    model = small()
    for form in (SparseFormat(), SparseFormat(zstd=True)):
        assert len({write(form, model).read_bytes() for _ in range(3)}) == 1


def test_the_zstd_frame_has_the_size_and_a_checksum_of_the_content() -> None:
    model = small()
    content = write(SparseFormat(), model).read_bytes()
    compressed = write(SparseFormat(zstd=True), model).read_bytes()
    frame = zstandard.get_frame_parameters(compressed)
    assert (frame.content_size, frame.has_checksum) == (len(content), True)
    assert zstandard.decompress(compressed) == content


def test_the_metadata_of_a_file_without_a_graph_take_normalised_images() -> None:
    model = small()
    model = dataclasses.replace(model, metadata=dataclasses.replace(model.metadata, preprocess=True))
    form = SparseFormat()
    assert form.read_metadata(write(form, model))["preprocess"] == "false"


def test_a_class_of_another_module_must_be_trusted() -> None:
    model = model_of(Halved(10, depth=8), sparsity=0.9)
    top = Halved.__module__.partition(".")[0]
    path = write(SparseFormat(), model)
    assert f"--trust {top}" in user_error(load_sparse, path)
    assert f"--trust {top}" in user_error(SparseFormat().open, path)
    images = images_of(model)
    assert type(load_sparse(path, trust=[top])) is Halved
    assert torch.equal(SparseFormat(trust=[top]).open(path)(images), model.network(images))


def test_the_package_export_does_not_import_torch() -> None:
    code = "import sys; from dasc.export import *; assert 'torch' not in sys.modules; load_sparse, load_state_dict_file"
    subprocess.run([sys.executable, "-c", code], check=True)


def decode(state: State, half: tuple[str, ...] = ()) -> State:
    """Write a state_dict and read it."""
    tensors, record = encode(state, half)
    content = b"".join(write_parts(tensors, {KEY: record}))
    length = int.from_bytes(content[:PREFIX], "little")
    data = memoryview(content)[PREFIX + length :]
    found = {}
    for name, stored in plan(parse_header(content[PREFIX : PREFIX + length])).items():
        check(name, stored, data)
        found[name] = torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
        decode_into(found[name], stored, data)
    return found


@pytest.mark.parametrize("zeros", [0, 1])
def test_names_that_end_as_those_of_bitmasks_and_values_are_kept_apart(zeros: int) -> None:
    keep = torch.arange(1000) % 10 < 10 - 9 * zeros
    names = [
        "a",
        "a.values",
        "a.bitmask",
        "b",
        "b.values",
        "c",
        "c.bitmask",
        "c.bitmask.values",
        "d.values",
        "e.bitmask",
    ]
    state = {name: (torch.arange(1000.0) + number) * keep for number, name in enumerate(names)}
    state["b.bitmask"] = torch.ones(125, dtype=torch.uint8)
    found = decode(state, ("b",))
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor.half().float() if name == "b" else tensor), name


@given(
    dtype=st.sampled_from(sorted(DTYPES.values(), key=str)),
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 7, 8, 9, 400]), max_size=3).filter(lambda s: math.prod(s) < 10**5),
    density=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    half=st.booleans(),
    seed=st.integers(0, 100),
)
@settings(max_examples=150, deadline=None, database=None)
def test_tensors_of_all_dtypes_and_shapes_are_equal(
    dtype: torch.dtype, shape: list[int], density: float, half: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    values: Any = generator.normal(size=shape) * 50 * (generator.random(shape) < density)
    tensor = torch.from_numpy(np.asarray(values)).abs().to(dtype)
    expected = tensor.half().to(dtype) if half and dtype in (torch.float32, torch.float64) else tensor
    assert torch.equal(decode({"x": tensor}, ("x",) if half else ())["x"], expected)


def test_a_large_tensor_is_decoded_in_several_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    sparse = torch.randn(1_300_001, generator=generator) * (torch.rand(1_300_001, generator=generator) < 0.3)
    dense = torch.randn(200_001, generator=generator)
    found = decode({"sparse": sparse, "dense": dense, "half": sparse, "dense_half": dense}, ("half", "dense_half"))
    assert torch.equal(found["sparse"], sparse)
    assert torch.equal(found["dense"], dense)
    assert torch.equal(found["half"], sparse.half().float())
    assert torch.equal(found["dense_half"], dense.half().float())


def test_a_dtype_without_a_name_in_safetensors_is_an_error() -> None:
    assert "the dtype of x must be one of" in user_error(encode, {"x": torch.zeros(3, dtype=torch.complex64)})
