"""Files of the format safetensors."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dasc.errors import UserError
from dasc.export.format import Model
from dasc.export.metadata import Metadata
from dasc.export.safetensors_file import SafetensorsFormat, load_safetensors
from tests.support.exported import model_of
from tests.support.exported_networks import NETWORKS, Tiny, check_outputs, make


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_gives_the_network_with_equal_outputs(name: str, tmp_path: Path) -> None:
    model = make(name, preprocess=False)
    path = tmp_path / "a.safetensors"
    SafetensorsFormat().write(model, path)
    check_outputs(model, SafetensorsFormat().open(path), preprocess=False)


def test_a_file_is_readable_without_dasc_and_has_no_preprocessing(tmp_path: Path) -> None:
    model = make("dropped blocks", preprocess=True)
    path = tmp_path / "a.safetensors"
    SafetensorsFormat().write(model, path)
    state = model.network.state_dict()
    tensors = load_file(path)
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert SafetensorsFormat().reference(model) is model.network
    metadata = Metadata.from_strings(SafetensorsFormat().read_metadata(path), path)
    assert metadata == dataclasses.replace(model.metadata, preprocess=False)


class Tied(nn.Module):
    """A network with a shared and a transposed weight."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.first = nn.Linear(num_classes, num_classes)
        self.second = nn.Linear(num_classes, num_classes)
        self.first.weight = nn.Parameter(self.first.weight.detach().T)
        self.second.weight = self.first.weight


def test_shared_and_transposed_tensors_are_written(tmp_path: Path) -> None:
    model = Model(Tied(10), dataclasses.replace(model_of(Tied(10)).metadata))
    path = tmp_path / "a.safetensors"
    SafetensorsFormat().write(model, path)
    loaded = load_safetensors(path, trust=[Tied.__module__])
    assert torch.equal(loaded.get_parameter("second.weight"), model.network.get_parameter("first.weight"))
    assert loaded.get_parameter("second.weight") is loaded.get_parameter("first.weight")


def test_only_trusted_classes_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    SafetensorsFormat().write(model_of(Tiny()), path)
    with pytest.raises(UserError, match=r"names the network class .*Tiny; to import it, add --trust"):
        SafetensorsFormat().open(path)
    assert SafetensorsFormat([Tiny.__module__]).open(path)(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "is no safetensors file, or it is truncated"),
    "half": (lambda content: content[: len(content) // 2], "is no safetensors file, or it is truncated"),
    "last byte": (lambda content: content[:-1], "is no safetensors file, or it is truncated"),
    "text": (lambda content: b"no safetensors at all", "is no safetensors file, or it is truncated"),
    "long header": (lambda content: b"\xff" * 8 + content[8:], "is no safetensors file, or it is truncated"),
    "no metadata": (lambda content: b"\x02" + bytes(7) + b"{}", "it has no metadata dasc, network"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_ends_in_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    SafetensorsFormat().write(make("dropped blocks", preprocess=False), path)
    change, sentence = DAMAGE[damage]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=sentence):
        load_safetensors(path)


def test_a_missing_file_and_a_folder_end_in_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        for call in (load_safetensors, SafetensorsFormat().read_metadata, SafetensorsFormat().open):
            with pytest.raises(UserError, match=f"there is no file {path}: check the path"):
                call(path)


def test_tensors_of_another_network_are_an_error(tmp_path: Path) -> None:
    model = make("dropped blocks", preprocess=False)
    path = tmp_path / "a.safetensors"
    strings = model.metadata.to_strings()
    arguments = {**model.metadata.network["init_args"], "depth": 14}
    strings["network"] = json.dumps({**model.metadata.network, "init_args": arguments})
    save_file(model.network.state_dict(), path, metadata=strings)
    with pytest.raises(UserError, match=r"tensor layer1.1.conv1.weight of its network is missing; export it again"):
        load_safetensors(path)
