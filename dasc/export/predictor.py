"""Class probabilities of images, by an exported file."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from dasc import runs
from dasc.errors import UserError, one_line
from dasc.export.format import CPU, DeviceError, Run
from dasc.export.formats import format_class
from dasc.export.identify import exported_in, identify
from dasc.export.metadata import Metadata
from dasc.prediction import CheckpointPredictor, Predictor, find_checkpoint

_LONGEST = 200
"""Largest number of characters of a runtime's error in a message."""


def find_model(given: str, root: Path) -> tuple[Path, str]:
    """Return the path of a checkpoint or an exported file, and a remark for the user or ''.

    Args:
        given: See `dasc.prediction.find_checkpoint`; or an exported file.
        root: The folder that contains lightning_logs/.

    Raises:
        UserError: There is no such run or checkpoint, or it is a folder of exported files.
    """
    folder = Path(given).expanduser()
    if folder.is_dir() and runs.find_in(folder, "best", "last") is None and (files := exported_in(folder)):
        names = ", ".join(file.name for file in files)
        raise UserError(f"--ckpt_path must be one file, got {folder}, a folder of exported files: give one of {names}")
    return find_checkpoint(given, root)


def open_predictor(path: Path, device: torch.device, trust: Iterable[str] = (), or_cpu: bool = False) -> Predictor:
    """Load a checkpoint or an exported file.

    Args:
        path: The file.
        device: Device of the network.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.
        or_cpu: Whether an exported file whose runtime cannot use `device` runs on the CPU.

    Raises:
        UserError: The file cannot be used, and why.
    """
    name = identify(path)
    if name is None:
        return CheckpointPredictor(path, device, trust)
    try:
        return ExportedPredictor(path, name, device, trust)
    except DeviceError:
        if not or_cpu:
            raise
        return ExportedPredictor(path, name, CPU, trust)


class ExportedPredictor(Predictor):
    """Network of an exported file; torch's number of threads is that of other runtimes.

    Args:
        path: The file.
        name: Name of its format.
        device: Device of the network.
        trust: Modules whose network classes may be imported, for a format that has the weights only.

    Raises:
        DeviceError: The runtime of the format cannot use the device.
        UserError: The file cannot be used, and why.
    """

    def __init__(self, path: Path, name: str, device: torch.device = CPU, trust: Iterable[str] = ()) -> None:
        kind = format_class(name, needed_by=str(path))(trust)
        self._metadata = Metadata.from_strings(kind.read_metadata(path), path)
        super().__init__(self._metadata.classes, self._metadata.input_format)
        self._path = path
        self._title = f"{self._metadata.network['class_path'].rpartition('.')[2]} ({name}) on {device}"
        self._device = device
        self._pipeline = self.input_format.pipeline(len(self.classes), CPU)
        self._run: Run = kind.open(path, torch.get_num_threads(), device)
        self._check()

    @property
    def title(self) -> str:
        """Class of the network, format of the file, and device."""
        return self._title

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities of a batch; see `Predictor.probabilities`.

        Raises:
            UserError: The file does not take such a batch, or it does not fit the memory of the device.
        """
        try:
            return self._outputs(images)
        except Exception as error:  # runtimes raise errors of many classes
            raise UserError(
                f"--batch_size must fit {self._path} and the memory of {self._device}, got {len(images)} "
                f"({self._text(error)}): give a smaller one, such as 1"
            ) from None

    def _outputs(self, images: Tensor) -> Tensor:
        if self._metadata.preprocess:
            return self._run(images)
        return self._run(self._pipeline.normalise(images)).float().softmax(1)

    @torch.inference_mode()
    def _check(self) -> None:
        """Run the file on one black image: it takes the images, and has an output for each class."""
        height, width = self.input_format.image_size
        try:
            outputs = self._outputs(torch.zeros(1, 3, height, width, dtype=torch.uint8))
        except Exception as error:  # runtimes raise errors of many classes
            raise UserError(
                f"{self._path} cannot be run on one image of {height} x {width} pixels, the size in its metadata "
                f"({self._text(error)}): export it again"
            ) from None
        if outputs.shape != (1, len(self.classes)):
            got = outputs.shape[1] if outputs.dim() == 2 else f"the shape {list(outputs.shape)}"
            raise UserError(
                f"{self._path} must have {len(self.classes)} outputs, the number of classes in its metadata, got "
                f"{got}: export it again"
            )

    def _text(self, error: Exception) -> str:
        text = one_line(error).removeprefix(f"{self._path} ")
        return text[:_LONGEST] or type(error).__name__
