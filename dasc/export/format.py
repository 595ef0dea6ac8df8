"""A format of exported files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from dasc.export.metadata import Metadata
from dasc.export.preprocess import Preprocessed

Run = Callable[[Tensor], Tensor]
"""Maps a batch on the CPU, (B, 3, H, W), to outputs (B, classes), float32: logits, or probabilities."""


@dataclass(frozen=True)
class Model:
    """A network that is exported.

    Args:
        network: The network, float32, on the CPU, in eval mode: zeros are in its weights, auxiliary blocks are gone.
        metadata: Its description.
    """

    network: nn.Module
    metadata: Metadata


class Format(ABC):
    """A format: writes a model into a file, and runs such a file.

    A new format is a file in `dasc/export/` with a subclass, and a line in `dasc.export.formats.FORMATS`.

    Args:
        trust: Modules whose network classes `open` may import, in addition to `dasc.checkpoint.TRUSTED`.
    """

    name: ClassVar[str]
    """The word after `--format`."""
    suffix: str
    """End of the file's name, such as `.onnx`."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages of the extra `export` that it needs."""
    has_graph: ClassVar[bool] = False
    """Whether the file has the computation, so that normalisation and softmax can be in it, or the weights only."""

    def __init__(self, trust: Iterable[str] = ()) -> None:
        self.trust = tuple(trust)

    def reference(self, model: Model) -> nn.Module:
        """Return the module that a written file must agree with, in eval mode.

        It is the network, or `Preprocessed` where `metadata.preprocess` is set and the format has a graph.
        """
        if self.metadata_of(model).preprocess:
            return Preprocessed(model.network, model.metadata.input_format).eval()
        return model.network

    def metadata_of(self, model: Model) -> Metadata:
        """Return the metadata that a written file has: a format without a graph ignores `preprocess`."""
        return model.metadata if self.has_graph else replace(model.metadata, preprocess=False)

    @abstractmethod
    def write(self, model: Model, path: Path) -> None:
        """Write a model into a new file.

        Args:
            model: The model. With `metadata.preprocess`, a format with a graph includes normalisation and softmax.
            path: The file.
        """

    @abstractmethod
    def read_metadata(self, path: Path) -> Mapping[str, str]:
        """Return the strings of `Metadata.to_strings` in a file.

        Raises:
            UserError: The file is missing, damaged or of another kind.
        """

    @abstractmethod
    def open(self, path: Path, threads: int = 1) -> Run:
        """Load a file to run it on the CPU.

        Args:
            path: The file.
            threads: Threads of one forward pass, for a runtime of its own; torch's threads are left as they are.

        Raises:
            UserError: The file is missing, damaged or of another kind.
        """
