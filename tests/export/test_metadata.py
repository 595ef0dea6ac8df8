"""Metadata of exported files: as strings, back, and what is refused."""

import json
import re
from typing import Any

import pytest

from dasc.errors import UserError
from dasc.export.metadata import Metadata
from dasc.networks import CifarResNet
from tests.support.exported import model_of


@pytest.fixture(scope="module")
def metadata() -> Metadata:
    return model_of(CifarResNet(10, depth=8), size=8, preprocess=True).metadata


def test_metadata_are_those_of_their_strings(metadata: Metadata) -> None:
    assert Metadata.from_strings(metadata.to_strings() | {"more": "ignored"}, "file") == metadata


def test_images_of_the_largest_size_are_described(metadata: Metadata) -> None:
    strings = metadata.to_strings() | {"image_size": "[16384, 1]"}
    assert Metadata.from_strings(strings, "file").input_format.image_size == (16384, 1)


WRONG: dict[str, tuple[Any, ...]] = {
    "network": ([], {"class_path": 1, "init_args": {}}, {"class_path": "a.B"}),
    "structure": ([], None),
    "classes": ([], ["a", 1], "ab"),
    "image_size": ([8], [8, 0], [8.0, 8], [16385, 8], [8, 16385], [True, 8], [10**400, 8]),
    "mean": ([0.5, 0.5], [0.5, 0.5, "a"], [0.5, 0.5, float("nan")], [0.5, 0.5, 10**400], [0.5, 0.5, -(10**400)]),
    "std": ([0.5, 0.5], [0.5, 0.5, 0], [0.5, 0.5, float("nan")], [0.5, 0.5, float("inf")]),
    "interpolation": ("nearest", [], 1),
    "margin": (0.5, 1000, True, "1", float("nan")),
    "preprocess": (1, "true", None),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_metadata_are_refused_by_name(name: str, value: Any, metadata: Metadata) -> None:
    strings = metadata.to_strings() | {name: json.dumps(value)}
    with pytest.raises(UserError, match=rf"^file is damaged: {name} is wrong in its metadata; export it again$"):
        Metadata.from_strings(strings, "file")


def test_metadata_of_another_version_or_without_a_key_are_refused(metadata: Metadata) -> None:
    with pytest.raises(UserError, match=r"^the metadata of file must have the version 1, got 2: use"):
        Metadata.from_strings(metadata.to_strings() | {"dasc": '"2"'}, "file")
    strings = metadata.to_strings()
    del strings["mean"], strings["std"]
    with pytest.raises(UserError, match=re.escape("file of dasc export, but it has no metadata mean, std")):
        Metadata.from_strings(strings, "file")


@pytest.mark.parametrize("text", ["{", "[" * 10**5, ""])
def test_metadata_that_are_no_json_are_refused(text: str, metadata: Metadata) -> None:
    with pytest.raises(UserError, match=r"^file is damaged: its metadata are no JSON"):
        Metadata.from_strings(metadata.to_strings() | {"structure": text}, "file")
