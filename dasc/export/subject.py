"""The checkpoint that is exported: its network as it is deployed, and the images of its run."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dasc.checkpoint import load_network
from dasc.data import ImageData
from dasc.data.recorded import recorded_data
from dasc.errors import UserError
from dasc.export.format import Model
from dasc.export.int8 import calibration_indices
from dasc.export.metadata import Metadata
from dasc.networks import auxiliary_blocks, build_network, count, prunable_weights, set_auxiliary_blocks
from dasc.prediction import InputFormat
from dasc.stages.structure import structure_of

CALIBRATION_IMAGES = 512
"""Training images that the ranges of int8 activations are measured on."""


class ScoredBatch(NamedTuple):
    """A batch of validation images."""

    images: Tensor
    """uint8 (B, 3, H, W)."""
    normalised: Tensor
    """float32 (B, 3, H, W)."""
    targets: Tensor
    """int64 (B,)."""


@dataclass(frozen=True)
class Subject:
    """A checkpoint to export.

    Args:
        path: The file.
        recorded: Its data under `dasc`.
        network: Its network on the CPU, float32, in eval mode, without auxiliary blocks.
        whole: The same with the auxiliary blocks that the checkpoint has; `network` itself if it has none.
        data: The images of its run.
    """

    path: Path
    recorded: Mapping[str, Any]
    network: nn.Module
    whole: nn.Module
    data: ImageData

    def model(self, preprocess: bool = False) -> Model:
        """Return the network with the metadata of its files; see `Metadata.preprocess`."""
        form = InputFormat.of_checkpoint(self.recorded)
        classes = tuple(self.recorded["classes"])
        description = {name: self.recorded["network"][name] for name in ("class_path", "init_args")}
        structure = structure_of(self.network)
        return Model(self.network, Metadata(description, structure, classes, form, preprocess))

    def dense(self) -> nn.Module:
        """Return an untrained network of the same class and arguments: without zeros, and with all its channels."""
        return build_network(dict(self.recorded["network"])).eval()

    @property
    def title(self) -> str:
        """Class of the network, its parameters and zeros, for the user."""
        sizes = count(self.network, self._image_size)
        weights = sum(weight.numel() for weight in prunable_weights(self.network).values())
        zeros = sizes.parameters - sizes.nonzero_parameters
        name = type(self.network).__name__
        return f"{name}, {sizes.parameters:,} parameters, {zeros / max(weights, 1):.1%} of its weights are zero"

    @property
    def has_fewer_channels(self) -> bool:
        """Whether channels were removed from the network."""
        return count(self.network, self._image_size).parameters < count(self.dense(), self._image_size).parameters

    @property
    def _image_size(self) -> tuple[int, int]:
        return InputFormat.of_checkpoint(self.recorded).image_size

    @property
    def blocks(self) -> int:
        """Number of auxiliary blocks in the checkpoint, which are left out."""
        return auxiliary_blocks(self.whole)

    def validation(self) -> Iterator[ScoredBatch]:
        """Yield the validation images in batches."""
        for batch in self.data.val_dataloader():
            yield ScoredBatch(batch.images, self.data.pipeline.normalise(batch.images), batch.targets)

    def calibration(self, batch_size: int = 64) -> list[Tensor]:
        """Return unaugmented training images, drawn with seed 0, as uint8 batches (B, 3, H, W)."""
        count = len(self.data.source.training().targets)
        chosen = calibration_indices(count, CALIBRATION_IMAGES)
        return list(self.data.unaugmented("train", chosen).split(batch_size))


def load_subject(path: Path, data_root: str | None, trust: Iterable[str] = (), allow_training: bool = False) -> Subject:
    """Load the network of a checkpoint, and open the images of its run.

    Args:
        path: The file.
        data_root: Folder of the data set; None: the one of the run.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.
        allow_training: Whether validation images may have been training images of the run.

    Raises:
        UserError: The checkpoint or its data cannot be used, and why.
    """
    whole, _, recorded = load_network(path, trust)
    whole = whole.float()
    try:
        data = recorded_data(recorded, data_root)
        InputFormat.of_checkpoint(recorded)
    except UserError as error:
        raise UserError(f"{path} cannot be exported: {error}") from None
    if not allow_training:
        data.source.check_unseen("val", recorded, "--allow_training_images")
    data.setup("validate")
    network = whole
    if auxiliary_blocks(whole):
        network = copy.deepcopy(whole)
        set_auxiliary_blocks(network, 0)
    return Subject(path, recorded, network, whole, data)
