"""Damaged and hostile sparse files end in one sentence, without code executed and without much memory."""

import json
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dasc.errors import UserError
from dasc.export import load_sparse
from dasc.export.format import Model
from dasc.export.layout import HEADER_LIMIT, PREFIX
from dasc.export.sparse_file import SparseFormat
from dasc.networks import CifarResNet, TorchvisionNetwork
from tests.support.errors import user_error
from tests.support.exported import images_of, model_of
from tests.support.peak import peak_bytes, peak_bytes_alone

EXAMPLES = int(os.environ.get("DASC_FUZZ_EXAMPLES", "50"))
"""Examples of each of the four fuzz tests."""

MIB = 2**20
BITS = "fc.weight.bitmask"
VALUES = "fc.weight.values"
Header = dict[str, Any]


@cache
def original() -> Model:
    return model_of(CifarResNet(10, depth=8), sparsity=0.9)


@cache
def content(zstd: bool = False) -> bytes:
    path = Path("original")
    SparseFormat(zstd=zstd).write(original(), path)
    return path.read_bytes()


def split(raw: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(raw[:PREFIX], "little")
    return json.loads(raw[PREFIX : PREFIX + length]), raw[PREFIX + length :]


def join(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(PREFIX, "little") + text + data


def edited(change: Callable[[Header], object], data: bytes = b"") -> bytes:
    """Return the file with another header."""
    header, own = split(content())
    change(header)
    return join(header, own + data)


def with_metadata(**values: Any) -> bytes:
    return edited(lambda header: header["__metadata__"].update({key: json.dumps(v) for key, v in values.items()}))


def with_arguments(class_path: str = "dasc.networks.resnet.CifarResNet", **init_args: Any) -> bytes:
    return with_metadata(network={"class_path": class_path, "init_args": init_args})


def with_byte(name: str, position: int, value: int) -> bytes:
    """Return the file with another byte in a tensor."""
    header, data = split(content())
    start, end = header[name]["data_offsets"]
    changed = bytearray(data)
    changed[range(start, end)[position]] = value
    return join(header, bytes(changed))


def with_record(name: str = "fc.weight", **values: Any) -> bytes:
    """Return the file with another dtype or shape of a tensor in the metadata `sparse`."""
    record = json.loads(split(content())[0]["__metadata__"]["sparse"])
    record["tensors"].setdefault(name, {}).update(values)
    return with_metadata(sparse=record)


def load(raw: bytes) -> str:
    Path("damaged").write_bytes(raw)
    text = user_error(load_sparse, "damaged")
    assert text.startswith("damaged ")
    assert "\n" not in text
    assert len(text) < 600
    return text


DAMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "it has 0 bytes"),
    "seven bytes": (lambda: content()[:7], "it has 7 bytes"),
    "truncated header": (lambda: content()[:500], "more than the file"),
    "truncated data": (lambda: content()[:-1], "bytes, got"),
    "a byte more": (lambda: content() + b"\0", "bytes, got"),
    "a pickle": (lambda: b"\x80\x02}q\x00." * 100, "more than the file"),
    "a header over the limit": (
        lambda: (HEADER_LIMIT + 1).to_bytes(PREFIX, "little") + b" " * (HEADER_LIMIT + 1),
        f"more than {HEADER_LIMIT}",
    ),
    "no JSON": (lambda: (9).to_bytes(PREFIX, "little") + b"{'a': 12}", "must be a JSON object"),
    "no text": (lambda: (2).to_bytes(PREFIX, "little") + b"\xff\xfe", "must be a JSON object"),
    "nested JSON": (lambda: (10**5).to_bytes(PREFIX, "little") + b"[" * 10**5, "must be a JSON object"),
    "a list": (lambda: join([], b""), "its header must be a JSON object"),
    "duplicate keys": (lambda: (13).to_bytes(PREFIX, "little") + b'{"a":1,"a":1}', "without duplicate keys"),
    "no metadata": (lambda: edited(lambda h: h.pop("__metadata__")), "its metadata have no 'sparse'"),
    "metadata of numbers": (
        lambda: edited(lambda h: h["__metadata__"].update(sparse=1)),
        "its metadata are no strings",
    ),
    "no network": (lambda: edited(lambda h: h["__metadata__"].pop("network")), "no metadata network"),
    "foreign metadata": (lambda: with_metadata(other=1), "its metadata must not have 'other'"),
    "a large margin": (lambda: with_metadata(margin=10**400), "margin is wrong"),
    "another version": (lambda: with_metadata(sparse={"version": 2, "tensors": {}}), "must have the version 1"),
    "no record": (lambda: with_metadata(sparse=[]), "its metadata sparse must be a JSON object"),
    "a foreign tensor": (
        lambda: edited(lambda h: h.update(x={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})),
        "its network has no tensor x",
    ),
    "a missing tensor": (lambda: edited(lambda h: h.pop(BITS)), "must start at byte"),
    "a renamed bitmask": (lambda: edited(lambda h: h.update(x=h.pop(BITS))), "'fc.weight.bitmask' is missing"),
    "renamed values": (lambda: edited(lambda h: h.update(x=h.pop(VALUES))), "'fc.weight.values' is missing"),
    "an unknown dtype": (lambda: edited(lambda h: h[BITS].update(dtype="U9")), "the dtype of 'fc.weight.bitmask' must"),
    "a dtype that is a list": (lambda: edited(lambda h: h[BITS].update(dtype=[])), "the dtype of 'fc.weight.bitmask'"),
    "a signed bitmask": (lambda: edited(lambda h: h[BITS].update(dtype="I8")), "must have one bit for each of 640"),
    "integer values": (lambda: edited(lambda h: h[VALUES].update(dtype="I32")), "must have the dtype F32, got I32"),
    "more keys of a tensor": (lambda: edited(lambda h: h[BITS].update(x=1)), "must have dtype, shape and data_offsets"),
    "a negative size": (lambda: edited(lambda h: h[BITS].update(shape=[-80, -1])), "must be a list of sizes"),
    "a size that is no integer": (lambda: edited(lambda h: h[BITS].update(shape=[80.0])), "must be a list of sizes"),
    "many dimensions": (lambda: edited(lambda h: h[BITS].update(shape=[80] + [1] * 99)), "must be a list of sizes"),
    "another size": (lambda: edited(lambda h: h[BITS].update(shape=[81])), "must have 81 bytes, got 80"),
    "overlapping tensors": (lambda: edited(lambda h: h[BITS].update(data_offsets=[0, 80])), "must start at byte"),
    "three offsets": (lambda: edited(lambda h: h[BITS].update(data_offsets=[0, 1, 2])), "must be two positions"),
    "a shape larger than the bitmask": (lambda: with_record(shape=[10**6, 10**6]), "one bit for each of 10000000000"),
    "a shape with a large product": (lambda: with_record(shape=[2**40] * 16), "one bit for each of"),
    "a shape of no elements": (lambda: with_record(shape=[0, 2**40]), "one bit for each of 0"),
    "another shape": (lambda: with_record(shape=[64, 10]), "the shape of fc.weight must be [10, 64], got [64, 10]"),
    "another dtype": (lambda: with_record(dtype="BF16"), "must have the dtype BF16, got F32"),
    "a dtype of the record": (lambda: with_record(dtype={}), "the dtype of 'fc.weight' must be one of"),
    "a foreign key of the record": (lambda: with_record(x=1), "must have dtype and shape of 'fc.weight'"),
    "a bit more": (lambda: with_byte(BITS, 3, 255), "ones, but there are"),
    "a bit less": (lambda: with_byte(BITS, 3, 0), "ones, but there are"),
    "no dense float16": (
        lambda: with_record("bn1.bias", dtype="F32", shape=[16]),
        "must be stored as float16 in its shape",
    ),
    "an untrusted class": (lambda: with_arguments("os.path.X"), "--trust os"),
    "a class that is no network": (lambda: with_arguments("dasc.errors.UserError"), "is no torch.nn.Module"),
    "unknown arguments": (lambda: with_arguments(x=1), "no CifarResNet can be built"),
    "another depth": (lambda: with_arguments(num_classes=10, depth=14), "of its network is missing"),
    "a large depth": (lambda: with_arguments(num_classes=10, depth=6 * 10**9 + 2), "no CifarResNet can be built"),
    "many classes": (lambda: with_arguments(num_classes=10**12, depth=8), "fc.weight must be [1000000000000, 64]"),
    "more classes than integers": (lambda: with_arguments(num_classes=10**30, depth=8), "no CifarResNet can be built"),
    "a large width": (
        lambda: with_arguments("dasc.networks.mobilenet.CifarMobileNetV2", num_classes=10, width=1e5),
        "the tensor features.0.0.weight of its network is missing",
    ),
    "a large network that fails on the meta device": (
        lambda: with_arguments("dasc.networks.mobilenet.CifarMobileNetV2", num_classes=-1, width=50),
        "no CifarMobileNetV2 can be built",
    ),
    "many auxiliary blocks": (lambda: with_metadata(structure={"auxiliary": 10**12}), "no CifarResNet can be built"),
    "auxiliary text": (lambda: with_metadata(structure={"auxiliary": "x"}), "no CifarResNet can be built"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_in_one_sentence(name: str) -> None:
    make, text = DAMAGES[name]
    begin = time.process_time()
    assert text in load(make())
    assert time.process_time() - begin < 5


def test_set_unused_bits_are_refused() -> None:
    """The shape of 637 elements has three unused bits; the network is another one, but bits are checked first."""
    raw = with_record(shape=[7, 91])
    header, data = split(raw)
    at = header[BITS]["data_offsets"][1] - 1
    for last, text in ((data[at] | 1, "the unused bits"), (data[at] & 0xF8, "the shape of fc.weight")):
        changed = bytearray(data)
        changed[at] = last
        first = header[BITS]["data_offsets"][0]
        ones = sum(byte.bit_count() for byte in changed[first : at + 1]) - header[VALUES]["shape"][0]
        for position in range(first, at):  # the number of ones stays the same
            while ones > 0 and changed[position]:
                changed[position] &= changed[position] - 1
                ones -= 1
            while ones < 0 and changed[position] < 255:
                changed[position] |= changed[position] + 1
                ones += 1
        assert text in load(join(header, bytes(changed)))


def test_data_that_are_larger_than_the_dense_tensors_are_refused() -> None:
    header = {
        "__metadata__": split(content())[0]["__metadata__"]
        | {"sparse": '{"version":1,"tensors":{"x":{"dtype":"F32","shape":[8]}}}'},
        "x.bitmask": {"dtype": "U8", "shape": [1], "data_offsets": [32, 33]},
        "x.values": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
    }
    assert "its data must have at most 32 bytes, as the dense tensors, got 33" in load(join(header, bytes(33)))


def test_a_bool_must_be_zero_or_one() -> None:
    header = {
        "__metadata__": split(content())[0]["__metadata__"] | {"sparse": '{"version":1,"tensors":{}}'},
        "x": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]},
    }
    assert "the values of 'x' must be 0 or 1" in load(join(header, bytes([0, 1, 2, 0])))
    assert "its network" in load(join(header, bytes([0, 1, 1, 0])))


def frame(raw: bytes, **settings: Any) -> bytes:
    return zstandard.ZstdCompressor(**settings).compress(raw)


def changed(raw: bytes, position: int) -> bytes:
    flipped = bytearray(raw)
    flipped[position] ^= 1
    return bytes(flipped)


def streamed() -> bytes:
    """Return the file in a frame without the size of the content."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(content()) + compressor.flush()


def with_window(size: int) -> bytes:
    """Return a file whose zstd frame has a window instead of a single segment; the frame header is as in RFC 8878."""
    raw = frame(content(), write_content_size=True)
    size_flag = raw[4] >> 6
    width = {1: 2, 2: 4, 3: 8}[size_flag]
    assert raw[4] & 0x20  # a single segment
    exponent = size.bit_length() - 1 - 10
    return raw[:4] + bytes([raw[4] & ~0x20, exponent << 3]) + raw[5 : 5 + width] + raw[5 + width :]


ZSTD: dict[str, tuple[Callable[[], bytes], str]] = {
    "only the magic": (lambda: content(True)[:4], "is damaged"),
    "truncated": (lambda: content(True)[:-1], "is damaged"),
    "truncated in the header": (lambda: content(True)[:100], "damaged"),
    "a byte more": (lambda: content(True) + b"x", "is damaged"),
    "two frames": (lambda: content(True) * 2, "is damaged"),
    "a flipped bit in the middle": (lambda: changed(content(True), len(content(True)) // 2), "damaged"),
    "a flipped bit of the checksum": (lambda: changed(content(True), -1), "is damaged"),
    "no size": (streamed, "its decompressed size must be known"),
    "zeros": (lambda: frame(bytes(10**8)), "at most 1000 times that of the file"),
    "a large window": (lambda: with_window(2**23), "its zstd window has 8388608 bytes, more than the content"),
    "something else": (lambda: frame(os.urandom(10**4)), "more than the file"),
    "more than the header says": (lambda: frame(content() + bytes(10**6)), "bytes, got"),
    "less than the header says": (lambda: frame(content()[:-9]), "bytes, got"),
}


@pytest.mark.parametrize("name", ZSTD)
def test_a_damaged_zstd_file_is_refused_in_one_sentence(name: str) -> None:
    make, text = ZSTD[name]
    assert text in load(make())


def test_a_missing_file_and_a_folder_are_refused() -> None:
    Path("folder").mkdir()
    assert user_error(load_sparse, "missing") == "there is no file missing: check the path"
    assert user_error(load_sparse, "folder") == "there is no file folder: check the path"
    assert user_error(SparseFormat().read_metadata, Path("missing")) == "there is no file missing: check the path"


def bomb(classes: int) -> bytes:
    """Return a file with zstd whose bits, all zero, and network agree: the last layer has 64 * `classes` weights."""
    header, data = split(content())
    record = json.loads(header["__metadata__"]["sparse"])
    record["tensors"]["fc.weight"]["shape"] = [classes, 64]
    network = {"class_path": "dasc.networks.resnet.CifarResNet", "init_args": {"num_classes": classes, "depth": 8}}
    header["__metadata__"] |= {"sparse": json.dumps(record), "network": json.dumps(network)}
    start, end = header[BITS]["data_offsets"]
    header[BITS] |= {"shape": [8 * classes], "data_offsets": [start, start + 8 * classes]}
    for name, value in header.items():
        if name != "__metadata__" and value["data_offsets"][0] >= end:
            value["data_offsets"] = [at + 8 * classes - (end - start) for at in value["data_offsets"]]
    return frame(join(header, data[:start] + bytes(8 * classes) + data[end:]), level=19)


@cache
def large() -> tuple[bytes, int]:
    """Return the file of a ResNet18 with few zeros and zstd, and the bytes of its dense tensors."""
    model = model_of(TorchvisionNetwork(10, "resnet18"), sparsity=0.05)
    path = Path("large")
    SparseFormat().write(model, path)
    raw = frame(path.read_bytes(), level=1)
    return raw, sum(tensor.nbytes for tensor in model.network.state_dict().values())


def test_a_network_takes_at_most_twice_the_memory_of_its_dense_tensors() -> None:
    raw, dense = large()
    Path("large").write_bytes(raw)
    assert dense > 40 * MIB
    peak = peak_bytes_alone("from dasc.export import load_sparse; load_sparse('large')")
    assert dense < peak < 2 * dense + 8 * MIB


@pytest.mark.parametrize("name", [name for name in DAMAGES if "large" in name or "many" in name])
def test_claims_take_no_memory(name: str) -> None:
    raw = DAMAGES[name][0]()
    assert peak_bytes(lambda: load(raw)) < 4 * MIB


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (10**7, "its decompressed size must be known and at most 1000 times that of the file"),
        (4 * 10**5, "its tensors have 102700576 bytes, more than 1000 times those of the file"),
    ],
)
def test_a_zstd_bomb_takes_no_memory(classes: int, text: str) -> None:
    raw = bomb(classes)
    assert len(raw) < MIB
    assert text in load(raw)
    assert peak_bytes(lambda: load(raw)) < 4 * MIB


def outcome(raw: bytes) -> dict[str, Tensor] | None:
    """Load a file; return the state of its network, which runs, or None after a UserError."""
    Path("damaged").write_bytes(raw)
    try:
        network = load_sparse("damaged")
    except UserError:
        return None
    with torch.no_grad():
        assert network(images_of(original(), 2)).shape == (2, 10)
    return network.state_dict()


def assert_original(state: dict[str, Tensor]) -> None:
    for name, tensor in original().network.state_dict().items():
        assert torch.equal(state[name], tensor), name


def fuzz(**arguments: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    limits = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= 50,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: limits(given(**arguments)(test))


BYTES = st.binary(max_size=40)
EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "flip", "insert", "delete", "cut"]), st.floats(0, 1), st.integers(0, 7), BYTES),
    min_size=1,
    max_size=3,
)


def mutate(raw: bytes, edits: list[tuple[str, float, int, bytes]], end: int) -> bytes:
    """Return a file with edits before the position `end`, most of them in the first bytes."""
    for kind, place, bit, inserted in edits:
        at = min(int(place**2 * min(end, len(raw))), max(len(raw) - 1, 0))
        if kind == "flip":
            raw = raw[:at] + bytes(byte ^ 1 << bit for byte in raw[at : at + 1]) + raw[at + 1 :]
        elif kind == "cut":
            raw = raw[:at]
        elif kind == "insert":
            raw = raw[:at] + inserted + raw[at:]
        else:
            raw = raw[:at] + raw[at + len(inserted) :]
    return raw


@fuzz(edits=EDITS, in_header=st.booleans())
def test_a_file_with_changed_bytes_is_refused_or_loads(edits: list[Any], in_header: bool) -> None:
    raw = content()
    header_end = PREFIX + int.from_bytes(raw[:PREFIX], "little")
    mutated = mutate(raw, edits, header_end if in_header else len(raw))
    state = outcome(mutated)
    if state is not None and mutated[header_end:] == raw[header_end:]:
        assert_original(state)


@fuzz(edits=EDITS)
def test_a_zstd_file_with_changed_bytes_is_refused_or_equal(edits: list[Any]) -> None:
    state = outcome(mutate(content(True), edits, len(content(True))))
    if state is not None:
        assert_original(state)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=6,
)
STEPS = st.lists(st.integers(0, 200), min_size=1, max_size=6)
CHANGES = st.one_of(
    JSON,
    st.integers(-3, 3).map(lambda difference: ("add", difference)),
    st.sampled_from(["remove", "U8", "F16", "F64", "BF16", "I64", 10**12, "dasc.networks.CifarMobileNetV2"]),
    st.integers(0, 200).map(lambda place: ("swap", place)),
)


def change_value(value: Any, steps: list[int], new: Any) -> Any:
    """Return a JSON value with a change in a part: in texts that are JSON themselves too."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.dumps(change_value(json.loads(value), steps, new))
    if not steps or not isinstance(value, dict | list) or not value:
        if isinstance(new, tuple) and new[0] == "add":
            return value + new[1] if isinstance(value, int) else value
        return list(new) if isinstance(new, tuple) else new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[steps[0] % len(keys)]
    if new == "remove" and len(steps) == 1:
        del value[key]
    elif isinstance(new, tuple) and new[0] == "swap" and len(steps) == 1:
        other = keys[new[1] % len(keys)]
        value[key], value[other] = value[other], value[key]
    else:
        value[key] = change_value(value[key], steps[1:], new)
    return value


@fuzz(edits=st.lists(st.tuples(STEPS, CHANGES), min_size=1, max_size=2), zstd=st.booleans())
def test_a_file_with_another_header_is_refused_or_loads(edits: list[Any], zstd: bool) -> None:
    header, data = split(content())
    for steps, new in edits:
        # one edit of four is in the metadata, which are one key of many
        header = change_value(header, steps if steps[0] % 4 else [0, *steps], new)
        if not isinstance(header, dict):
            break
    raw = join(header, data)
    outcome(frame(raw) if zstd else raw)


@fuzz(
    head=st.one_of(
        st.just(b""), st.just(b"\x28\xb5\x2f\xfd"), st.integers(0, 60).map(lambda n: n.to_bytes(8, "little"))
    ),
    body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_random_files_are_refused(head: bytes, body: bytes) -> None:
    assert outcome(head + body) is None
