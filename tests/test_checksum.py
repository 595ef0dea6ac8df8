"""A damaged checkpoint is found before anything of it is used."""

import hashlib
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dasc import checkpoint
from dasc.callbacks import AtomicCheckpointIO
from tests.support.errors import user_error

CONTENT: dict[str, Any] = {
    "state_dict": {"network.w": torch.arange(300.0), "masks.w": torch.arange(300) > 7},
    "dasc": {"format": 2, "epochs_done": 3, "classes": ["a", "b"]},
    "global_step": 24,
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_and_zip_read_a_file_with_a_checksum(written: Path, mmap: bool) -> None:
    plain, read = torch.load(written, weights_only=True, mmap=mmap), checkpoint.read(written, mmap)
    for loaded in (plain, read):
        assert torch.equal(loaded["state_dict"]["network.w"], CONTENT["state_dict"]["network.w"])
        assert loaded["dasc"] == CONTENT["dasc"] | {"checksum": "sha256"}
    assert "checksum" not in CONTENT["dasc"]
    with zipfile.ZipFile(written) as archive:
        assert archive.testzip() is None


def test_the_checksum_is_the_sha256_of_all_bytes_before_it(written: Path) -> None:
    content = written.read_bytes()
    assert content[-76:] == b"dasc-sha256:" + hashlib.sha256(content[:-64]).hexdigest().encode()


def damages(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Bit flips and truncations in turn; every fourth is in the last 100 bytes, where the checksum is."""
    draw = random.Random(seed)
    for number in range(count):
        place = draw.randrange(len(content) - 100 if number % 4 == 3 else 0, len(content))
        if number % 2:
            yield content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
        else:
            yield content[: place if number % 8 else len(content) - 1 - place % 100]


def test_no_bit_flip_or_truncation_loads(written: Path) -> None:
    content = written.read_bytes()
    for number, damaged in enumerate(damages(content, 1000, seed=0)):
        written.write_bytes(damaged)
        assert str(written) in user_error(checkpoint.read, written, mmap=number % 3 == 0)


def test_every_byte_of_the_checksum_is_needed(written: Path) -> None:
    content = written.read_bytes()
    for place in range(len(content) - 100, len(content)):
        written.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert str(written) in user_error(checkpoint.read, written)
        written.write_bytes(content[:place])
        assert str(written) in user_error(checkpoint.read, written)


def test_the_message_of_a_damaged_file(written: Path) -> None:
    content = written.read_bytes()
    written.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    assert (
        user_error(checkpoint.read, written)
        == f"{written} is damaged: its checksum does not match; use another checkpoint"
    )
    torch.save(torch.load(written, weights_only=True), written)
    assert (
        user_error(checkpoint.read, written) == f"{written} is damaged: its checksum is missing; use another checkpoint"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_a_file_of_a_plain_trainer_needs_no_checksum(tmp_path: Path, number: int) -> None:
    content = CONTENT | {"dasc": CONTENT["dasc"] | {"format": number}}
    torch.save(content, tmp_path / "plain.ckpt")
    assert checkpoint.read(tmp_path / "plain.ckpt")["dasc"] == content["dasc"]


def test_a_checkpoint_of_another_module_gets_a_checksum_too(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, tmp_path / "other.ckpt")
    assert torch.load(tmp_path / "other.ckpt", weights_only=True) == {"state_dict": {}}
    assert "is not a checkpoint of a dasc run" in user_error(checkpoint.read, tmp_path / "other.ckpt")
