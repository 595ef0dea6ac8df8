"""Choices of an export."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dasc.errors import UserError
from dasc.export import int8
from dasc.export.card import JSON_FILE, MARKDOWN_FILE
from dasc.export.format import Format
from dasc.export.formats import FORMATS, format_class
from dasc.export.identify import SUFFIXES

STEM = "model"
"""Start of the names of all exported files."""

FILE_NAMES = (*(f"{STEM}{suffix}" for suffix in (*SUFFIXES, int8.SUFFIX)), JSON_FILE, MARKDOWN_FILE)
"""All names that an export may write."""


@dataclass(frozen=True)
class Options:
    """Choices of an export; the defaults are those of `dasc export`.

    Args:
        formats: Names in `dasc.export.formats.FORMATS`, at least one.
        preprocess: Whether normalisation and softmax are in the files that have a graph.
        int8: Whether a quantised version of the ONNX file is written.
        max_drop: Accuracy that the quantised file may lose, in percentage points, in [0, 100].
        float16: Whether the format `sparse` rounds weights to float16.
        zstd: Whether the format `sparse` compresses its file.
        threads: Threads of a forward pass whose time is measured, at least 1.
        latency_seconds: Time that the measurement of latencies takes; 0 leaves them out.

    Raises:
        UserError: Choices are wrong or exclude each other, or a package is not installed.
    """

    formats: tuple[str, ...] = ("onnx",)
    preprocess: bool = False
    int8: bool = False
    max_drop: float = 1.0
    float16: bool = False
    zstd: bool = False
    threads: int = 1
    latency_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.formats:
            raise UserError(f"--format must name at least one format, got none: known are {', '.join(FORMATS)}")
        kinds = [format_class(name) for name in self.formats]
        if self.preprocess and not any(kind.has_graph for kind in kinds):
            raise UserError(
                "--preprocess must go with a format that has a graph, got --format "
                f"{','.join(self.formats)}: add onnx or torch_export to --format"
            )
        if self.int8 and "onnx" not in self.formats:
            raise UserError(
                f"--int8 must go with the ONNX file that is quantised, got --format {','.join(self.formats)}: add "
                "onnx to --format"
            )
        for name in ("float16", "zstd"):
            if getattr(self, name) and "sparse" not in self.formats:
                raise UserError(
                    f"--{name} must go with the format sparse, got --format {','.join(self.formats)}: add sparse to "
                    "--format"
                )
        int8.check_max_drop(self.max_drop)
        if not 0 <= self.latency_seconds < 1e6:
            raise UserError(
                f"--latency_seconds must be 0 or a number of seconds, got {self.latency_seconds:g}: use 10, or 0 to "
                "leave latencies out"
            )

    def make_formats(self, trust: Iterable[str] = ()) -> list[Format]:
        """Return the chosen formats.

        Args:
            trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.
        """
        settings: dict[str, dict[str, Any]] = {"sparse": {"float16": self.float16, "zstd": self.zstd}}
        return [format_class(name)(trust=trust, **settings.get(name, {})) for name in self.formats]
