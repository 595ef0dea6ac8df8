"""A format of exported files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from dasc.errors import UserError
from dasc.export.metadata import Metadata
from dasc.export.preprocess import Preprocessed

CPU = torch.device("cpu")

Run = Callable[[Tensor], Tensor]
"""Maps a batch on the CPU, (B, 3, H, W), to outputs (B, classes), float32: logits, or probabilities."""


class DeviceError(UserError):
    """The runtime of a format cannot use a device."""


@dataclass(frozen=True)
class Model:
    """A network that is exported.

    Args:
        network: The network, float32, on the CPU, in eval mode: zeros are in its weights, auxiliary blocks are gone.
        metadata: Its description.
    """

    network: nn.Module
    metadata: Metadata

    def module(self) -> nn.Module:
        """Return the network as a graph is written: with `metadata.preprocess`, as a `Preprocessed` in eval mode."""
        if self.metadata.preprocess:
            return Preprocessed(self.network, self.metadata.input_format).eval()
        return self.network


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
        """Return the module that a written file must agree with: `model.module()`, or the network without a graph."""
        return model.module() if self.has_graph else model.network

    def metadata_of(self, model: Model) -> Metadata:
        """Return the metadata that a written file has: a format without a graph ignores `preprocess`."""
        return model.metadata if self.has_graph else model.metadata.without_graph()

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
    def open(self, path: Path, threads: int = 1, device: torch.device = CPU) -> Run:
        """Load a file to run it.

        Args:
            path: The file.
            threads: Threads of one forward pass, for a runtime of its own; torch's threads are left as they are.
            device: Device of the network; batches and outputs are on the CPU.

        Raises:
            DeviceError: The runtime cannot use the device.
            UserError: The file is missing, damaged or of another kind.
        """
