"""Files of the format state_dict."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dasc.errors import UserError
from dasc.export.state_dict_file import CARD, StateDictFormat, load_state_dict_file
from dasc.networks import CifarResNet
from tests.support.exported import model_of
from tests.support.exported_networks import NETWORKS, check_outputs, make


def write(name: str, folder: Path) -> Path:
    """Write a file, and the part of the model card that it needs."""
    model = make(name, preprocess=True)
    kind = StateDictFormat()
    kind.write(model, folder / "a.pt")
    (folder / CARD).write_text(json.dumps({"metadata": kind.metadata_of(model).to_strings()}))
    return folder / "a.pt"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_gives_the_network_with_equal_outputs(name: str, tmp_path: Path) -> None:
    check_outputs(make(name, preprocess=False), StateDictFormat().open(write(name, tmp_path)), preprocess=False)


def test_a_file_is_a_plain_state_dict(tmp_path: Path) -> None:
    path = write("dropped blocks", tmp_path)
    state = torch.load(path, weights_only=True)
    assert type(state) is dict
    network = CifarResNet(10, depth=8)
    network.load_state_dict(state)
    expected = make("dropped blocks", preprocess=False).network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_a_file_has_no_memory_of_other_tensors(tmp_path: Path) -> None:
    network = CifarResNet(10, depth=8)
    model = model_of(network)
    network.conv1.weight.data = torch.zeros(1000, *network.conv1.weight.shape)[5]
    StateDictFormat().write(model, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 500_000


CARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda card: card.unlink(), f"a.pt has no metadata, and there is no {CARD} in its folder"),
    "no text": (lambda card: card.write_bytes(b"\xff\xfe"), f"{CARD} is damaged: it is no JSON"),
    "no JSON": (lambda card: card.write_text("{"), f"{CARD} is damaged: it is no JSON"),
    "deep": (lambda card: card.write_text("[" * 10**6), f"{CARD} is damaged: it is no JSON"),
    "a list": (lambda card: card.write_text("[]"), f"{CARD} is damaged: its metadata are wrong"),
    "no metadata": (lambda card: card.write_text("{}"), f"{CARD} is damaged: its metadata are wrong"),
    "numbers": (lambda card: card.write_text('{"metadata": {"dasc": 1}}'), "its metadata are wrong"),
    "no keys": (lambda card: card.write_text('{"metadata": {}}'), "has no metadata dasc, network"),
}


@pytest.mark.parametrize("damage", CARDS)
def test_without_a_model_card_there_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = write("dropped blocks", tmp_path)
    change, sentence = CARDS[damage]
    change(tmp_path / CARD)
    with pytest.raises(UserError, match=sentence):
        load_state_dict_file(path)


def test_damaged_weights_end_in_one_sentence(tmp_path: Path) -> None:
    path = write("dropped blocks", tmp_path)
    content = path.read_bytes()
    for part in (b"", content[:1000], content[:-100]):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"a.pt cannot be read as a state_dict, it may be truncated"):
            load_state_dict_file(path)


def test_tensors_that_claim_more_memory_than_the_file_has_are_an_error(tmp_path: Path) -> None:
    path = write("dropped blocks", tmp_path)
    state = torch.load(path, weights_only=True)
    state["conv1.weight"] = torch.zeros(1).expand(16, 3, 3, 3)
    torch.save(state, path)
    with pytest.raises(UserError, match="its tensors are not contiguous"):
        load_state_dict_file(path)
