"""Class probabilities of images, by the network of a checkpoint."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dasc.checkpoint import load_network
from dasc.data.decode import decode_whole, evaluation_margin
from dasc.data.pipeline import BatchPipeline, PipelineConfig
from dasc.errors import UserError
from dasc.preprocessing import Interpolation


@dataclass(frozen=True)
class InputFormat:
    """Preprocessing of image files for a network.

    Args:
        image_size: Height and width.
        margin: See `dasc.data.decode.decode_whole`.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, over 0.
        interpolation: Interpolation of the resizing.
    """

    image_size: tuple[int, int]
    margin: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"

    @classmethod
    def of_checkpoint(cls, recorded: Mapping[str, Any]) -> "InputFormat":
        """Return the preprocessing of evaluated images in the run of a checkpoint.

        Args:
            recorded: The data of the checkpoint under `dasc`.

        Raises:
            UserError: The checkpoint does not record it.
        """
        missing = [name for name in ("image_size", "mean", "std") if not recorded.get(name)]
        if missing:
            raise UserError(f"the checkpoint does not record {' and '.join(missing)}: use one of a run on ImageData")
        height, width = recorded["image_size"]
        margin = evaluation_margin(recorded.get("data", {}).get("crop", ""))
        interpolation: Interpolation = recorded.get("interpolation") or "bilinear"
        return cls((height, width), margin, tuple(recorded["mean"]), tuple(recorded["std"]), interpolation)

    def decode(self, path: str) -> Tensor:
        """Decode the middle of an image file into uint8 (3, *image_size).

        Raises:
            UserError: The file cannot be read as an image.
        """
        return decode_whole(path, self.image_size, self.margin, self.interpolation)

    def pipeline(self, num_classes: int, device: torch.device) -> BatchPipeline:
        """Return the pipeline that normalises decoded images as `dasc test` does, float32 on `device`."""
        return BatchPipeline(PipelineConfig(self.image_size, self.mean, self.std, num_classes), {}, device)


class Predictor(ABC):
    """Maps decoded images to class probabilities.

    Args:
        classes: Class names in the order of the probabilities.
        input_format: Preprocessing of image files.
    """

    def __init__(self, classes: Sequence[str], input_format: InputFormat) -> None:
        self.classes = tuple(classes)
        self.input_format = input_format

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the network and its device, for the user."""

    @abstractmethod
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities of a batch.

        Args:
            images: uint8 (B, 3, *image_size) on the CPU, from `input_format.decode`.

        Returns:
            float32 (B, len(classes)) on the CPU.

        Raises:
            UserError: The batch does not fit the memory of the device.
        """


class CheckpointPredictor(Predictor):
    """Network of a checkpoint.

    Args:
        path: The checkpoint.
        device: Device of the network.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.

    Raises:
        UserError: The checkpoint cannot be used, and why.
    """

    def __init__(self, path: Path, device: torch.device, trust: Iterable[str] = ()) -> None:
        network, _, recorded = load_network(path, trust)
        try:
            input_format = InputFormat.of_checkpoint(recorded)
            if not recorded.get("classes"):
                raise UserError("the checkpoint does not record its classes: use one of a run on ImageData")
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from None
        super().__init__(recorded["classes"], input_format)
        self._device = device
        self._network = network.to(device)
        self._pipeline = input_format.pipeline(len(self.classes), device)

    @property
    def title(self) -> str:
        """Class of the network, and its device."""
        return f"{type(self._network).__name__} on {self._device}"

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities of a batch; see `Predictor.probabilities`."""
        try:
            logits = self._network(self._pipeline.normalise(images.to(self._device)))
        except torch.OutOfMemoryError:
            raise UserError(
                f"--batch_size must fit the memory of {self._device}, got {len(images)}: give a smaller one"
            ) from None
        probabilities: Tensor = logits.float().softmax(1).cpu()
        return probabilities
