"""Description of a network in an exported file: how to rebuild it, what goes in, and what comes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dasc.errors import UserError
from dasc.prediction import InputFormat

FORMAT = "1"
"""Version of the metadata that are written."""

_LISTS = ("classes", "image_size", "mean", "std")
_MAX_SIDE = 16384
"""Largest height and width of an image that a file may claim; images of this size are allocated to run it."""

_KEYS = ("dasc", "network", "structure", *_LISTS, "interpolation", "margin", "preprocess")


@dataclass(frozen=True)
class Metadata:
    """Description of an exported network.

    Args:
        network: `{class_path, init_args}` of the network.
        structure: What `dasc.stages.structure.restore_structure` gives the network, such as removed channels.
        classes: Class names in the order of the outputs.
        input_format: Preprocessing of image files.
        preprocess: Whether the file maps uint8 images to probabilities, or normalised float32 images to logits. Both
            are (B, 3, H, W) and (B, classes).
    """

    network: Mapping[str, Any]
    structure: Mapping[str, Any]
    classes: tuple[str, ...]
    input_format: InputFormat
    preprocess: bool = False

    def without_graph(self) -> "Metadata":
        """Return the metadata of a file that has the weights only, so that normalisation and softmax are outside."""
        return replace(self, preprocess=False)

    def to_strings(self) -> dict[str, str]:
        """Return the metadata as strings: JSON texts by the keys `dasc`, `network`, `classes`, `mean`, ..."""
        form = self.input_format
        values = {
            "dasc": FORMAT,
            "network": dict(self.network),
            "structure": dict(self.structure),
            "classes": self.classes,
            "image_size": form.image_size,
            "mean": form.mean,
            "std": form.std,
            "interpolation": form.interpolation,
            "margin": form.margin,
            "preprocess": self.preprocess,
        }
        return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], source: object) -> "Metadata":
        """Return the metadata of the strings that `to_strings` returned; other keys are ignored.

        Args:
            strings: The strings.
            source: The file, for errors.

        Raises:
            UserError: Metadata are missing or malformed.
        """
        missing = [name for name in _KEYS if name not in strings]
        if missing:
            raise UserError(f"{source} must be a file of dasc export, but it has no metadata {', '.join(missing)}")
        try:
            values = {name: json.loads(strings[name]) for name in _KEYS}
        except (ValueError, RecursionError):
            raise UserError(f"{source} is damaged: its metadata are no JSON; export it again") from None
        if values["dasc"] != FORMAT:
            raise UserError(
                f"the metadata of {source} must have the version {FORMAT}, got {values['dasc']}: use the version of "
                "dasc that wrote it"
            )
        if problem := _problem(values):
            raise UserError(f"{source} is damaged: {problem} in its metadata; export it again")
        height, width = values["image_size"]
        form = InputFormat(
            (height, width),
            float(values["margin"]),
            tuple(values["mean"]),
            tuple(values["std"]),
            values["interpolation"],
        )
        return cls(values["network"], values["structure"], tuple(values["classes"]), form, values["preprocess"])


def _problem(values: Mapping[str, Any]) -> str:
    """Return what is wrong with parsed metadata; empty if nothing is."""
    network = values["network"]
    tests = {
        "network": isinstance(network, dict)
        and isinstance(network.get("class_path"), str)
        and isinstance(network.get("init_args"), dict),
        "structure": isinstance(values["structure"], dict),
        "classes": _is_list(values["classes"], str) and len(values["classes"]) > 0,
        "image_size": _is_list(values["image_size"], int, 2)
        and all(1 <= side <= _MAX_SIDE for side in values["image_size"]),
        "mean": _is_list(values["mean"], (int, float), 3) and all(-1000 < mean < 1000 for mean in values["mean"]),
        "std": _is_list(values["std"], (int, float), 3) and all(0 < std < 1000 for std in values["std"]),
        "interpolation": values["interpolation"] in ("bilinear", "bicubic"),
        "margin": _is_number(values["margin"]) and 1 <= values["margin"] < 1000,
        "preprocess": isinstance(values["preprocess"], bool),
    }
    return next((f"{name} is wrong" for name, is_right in tests.items() if not is_right), "")


def _is_list(value: Any, kind: type | tuple[type, ...], length: int | None = None) -> bool:
    is_list = isinstance(value, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
    return is_list and (length is None or len(value) == length)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
