"""A network is rebuilt from metadata and tensors only if they fit each other."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.export.formats import format_class
from dasc.export.metadata import Metadata
from dasc.export.rebuild import rebuild
from dasc.networks import CifarMobileNetV2, CifarResNet, CifarShuffleNetV2, TorchvisionNetwork, set_auxiliary_blocks
from dasc.stages.structure import structure_of
from tests.support.channels import remove
from tests.support.exported import images_of, model_of

State = dict[str, Tensor]


def with_arguments(metadata: Metadata, **arguments: Any) -> Metadata:
    init_args = metadata.network["init_args"] | arguments
    return dataclasses.replace(metadata, network={**metadata.network, "init_args": init_args})


def with_class(metadata: Metadata, class_path: str, **init_args: Any) -> Metadata:
    return dataclasses.replace(metadata, network={"class_path": class_path, "init_args": init_args})


@pytest.mark.parametrize(
    "make",
    [
        lambda: CifarResNet(10, depth=8, shortcut="B"),
        lambda: CifarShuffleNetV2(10, width="x0_5"),
        lambda: TorchvisionNetwork(10, "squeezenet1_1", weights="DEFAULT"),
    ],
)
def test_the_rebuilt_network_has_equal_tensors_of_its_own(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchvisionNetwork, "load_pretrained", lambda self: None)
    model = model_of(make())
    state = model.network.state_dict()
    before = torch.get_rng_state()
    network = rebuild(model.metadata, state, "file")
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    assert type(network) is type(model.network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])
        assert tensor.data_ptr() != state[name].data_ptr()


def test_auxiliary_blocks_are_rebuilt() -> None:
    network = CifarResNet(10, depth=8)
    set_auxiliary_blocks(network, 2)
    model = model_of(network)
    assert structure_of(rebuild(model.metadata, network.state_dict(), "file")) == structure_of(network)


CASES: dict[str, tuple[Callable[[Metadata], Metadata], Callable[[State], State], str]] = {
    "missing": (lambda m: m, lambda s: {k: v for k, v in s.items() if k != "fc.bias"}, "tensor fc.bias of its netw"),
    "foreign": (lambda m: m, lambda s: s | {"head": torch.zeros(1)}, "its network has no tensor head"),
    "shape": (lambda m: m, lambda s: s | {"fc.bias": torch.zeros(1)}, r"shape of fc.bias must be \[10\], got \[1\]"),
    "dtype": (lambda m: m, lambda s: s | {"fc.bias": torch.zeros(10).half()}, "dtype of fc.bias must be torch.float32"),
    "more classes": (lambda m: with_arguments(m, num_classes=10**12), dict, r"fc.weight must be \[1000000000000, 64\]"),
    "deeper": (lambda m: with_arguments(m, depth=6 * 10**8 + 2), dict, "more layers than the file has tensors"),
    "more blocks": (lambda m: dataclasses.replace(m, structure={"auxiliary": 10**9}), dict, "more layers than the fil"),
    "wrong structure": (
        lambda m: dataclasses.replace(m, structure={"auxiliary": "a"}),
        dict,
        "no CifarResNet can",
    ),
    "wrong depth": (lambda m: with_arguments(m, depth=21), dict, "file cannot be used: depth 21 is not"),
    "wrong argument": (lambda m: with_arguments(m, color="red"), dict, "unexpected keyword argument 'color'"),
    "negative": (lambda m: with_arguments(m, num_classes=-1), dict, "no CifarResNet can be built from its metadata"),
    "wide, and fails on the meta device": (
        lambda m: with_class(m, "dasc.networks.CifarMobileNetV2", num_classes=-1, width=4),
        dict,
        "no CifarMobileNetV2 can be built from its metadata .its tensors must have at most",
    ),
    "no network": (lambda m: with_class(m, "dasc.errors.UserError"), dict, "is no torch.nn.Module"),
    "no module": (lambda m: with_class(m, "dasc.nothing.Net"), dict, "cannot be imported"),
    "untrusted": (lambda m: with_class(m, "antigravity.Net"), dict, "to import it, add --trust antigravity"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_ends_in_one_sentence(case: str) -> None:
    metadata, state, sentence = CASES[case]
    model = model_of(CifarResNet(10, depth=8))
    started = time.process_time()
    with pytest.raises(UserError, match=sentence) as raised:
        rebuild(metadata(model.metadata), state(model.network.state_dict()), "file")
    assert str(raised.value).startswith("file ")
    assert "\n" not in str(raised.value)
    assert time.process_time() - started < 5


def test_a_network_that_reads_its_tensors_as_it_is_built_is_rebuilt() -> None:
    model = model_of(Reading(10))
    network = rebuild(model.metadata, model.network.state_dict(), "file", trust=[__name__])
    assert torch.equal(network.get_parameter("fc.weight"), model.network.get_parameter("fc.weight"))


class Reading(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc = nn.Linear(3, num_classes)
        self.scale = self.fc.weight.abs().max().item()


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda: CifarResNet(10, depth=8), 0.9),
        (lambda: CifarShuffleNetV2(10), 0.5),
        (lambda: CifarMobileNetV2(10), 0.5),
        (lambda: TorchvisionNetwork(10, "mobilenet_v2"), 0.8),
    ],
    ids=["ResNet8 without 90 %", "ShuffleNetV2", "MobileNetV2", "mobilenet_v2 of torchvision"],
)
@pytest.mark.parametrize("form", ["sparse", "safetensors"])
def test_a_network_that_lost_channels_is_rebuilt(
    make: Callable[[], nn.Module], share: float, form: str, tmp_path: Path
) -> None:
    network = make()
    dense = sum(tensor.nbytes for tensor in network.state_dict().values())
    remove(network, share, size=32)
    small = sum(tensor.nbytes for tensor in network.state_dict().values())
    assert small < 0.6 * dense
    model = model_of(network, sparsity=0.3)
    kind = format_class(form)()
    kind.write(model, tmp_path / "file")
    images = images_of(model)
    with torch.no_grad():
        torch.testing.assert_close(kind.open(tmp_path / "file")(images), network(images), atol=0, rtol=0)


def test_no_memory_is_taken_for_channels_that_were_removed() -> None:
    """The metadata claim channels that the file does not have, such as 2**40 of a layer."""
    network = CifarResNet(10, depth=8)
    remove(network, 0.5)
    model = model_of(network, size=8)
    huge = with_arguments(model.metadata, num_classes=2**40)
    begin = time.process_time()
    with pytest.raises(UserError, match=r"the shape of fc.weight must be \[1099511627776, 32\], got \[10, 32\]"):
        rebuild(huge, network.state_dict(), "file")
    assert time.process_time() - begin < 5
