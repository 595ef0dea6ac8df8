"""A checkpoint or an exported file that is compared."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dasc import checkpoint, runs
from dasc.compare.sizes import Sizes, count_weights, is_quantised, sizes_of_graph, sizes_of_network
from dasc.errors import UserError, one_line
from dasc.export.format import Model, Run
from dasc.export.formats import format_class
from dasc.export.identify import exported_in, identify
from dasc.export.loading import WEIGHTS, load_weights
from dasc.export.metadata import Metadata
from dasc.export.rebuild import rebuild, run_of
from dasc.networks import auxiliary_blocks, set_auxiliary_blocks
from dasc.prediction import InputFormat, find_checkpoint
from dasc.stages.structure import structure_of

CHECKPOINT = "checkpoint"
"""Format of a checkpoint, beside those of exported files."""


@dataclass(frozen=True)
class Candidate:
    """A loaded checkpoint or exported file.

    Args:
        name: Short name; see `dasc.compare.names.short_names`.
        path: The file.
        form: `checkpoint`, `int8`, or the name of its format in `dasc.export.formats.FORMATS`.
        metadata: Description of its network.
        run: Its forward pass: maps images as `inputs` returns them to logits or, with `metadata.preprocess`,
            probabilities (B, classes).
        network: Its network in PyTorch with its weights; None if only the graph is known.
        sizes: Its parameters and MACs.
        bytes: Bytes of the file; of a checkpoint, those of its network's dense tensors.
        recorded: The data under `dasc` of the checkpoint or, for an exported file, of a checkpoint of its run; None if
            that is unknown.
        blocks: Auxiliary blocks that were left out.
    """

    name: str
    path: Path
    form: str
    metadata: Metadata
    run: Run
    network: nn.Module | None
    sizes: Sizes
    bytes: int
    recorded: Mapping[str, Any] | None
    blocks: int = 0

    @property
    def is_graph_of_onnx(self) -> bool:
        """Whether ONNX Runtime runs it."""
        return self.form in ("onnx", "int8")

    @property
    def model(self) -> Model | None:
        """Its network as it can be exported."""
        return None if self.network is None else Model(self.network, self.metadata)

    def inputs(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, 3, H, W) as `run` takes them: normalised, unless the graph does that."""
        if self.metadata.preprocess:
            return images
        pipeline = self.metadata.input_format.pipeline(len(self.metadata.classes), torch.device("cpu"))
        return pipeline.normalise(images)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities of uint8 images (B, 3, H, W), float32 (B, classes).

        Raises:
            UserError: The file cannot be run on them.
        """
        try:
            outputs = self.run(self.inputs(images)).float()
        except UserError:
            raise
        except Exception as error:  # whatever a runtime raises
            raise UserError(
                f"{self.path} cannot be run on {len(images)} images ({one_line(error)[:200]}): export it again"
            ) from None
        if outputs.shape != (len(images), len(self.metadata.classes)):
            raise UserError(
                f"{self.path} must have {len(self.metadata.classes)} outputs, the number of its classes, got "
                f"{outputs.shape[-1]}: export it again"
            )
        return outputs if self.metadata.preprocess else outputs.softmax(1)


def find_candidate(given: str, root: Path) -> tuple[Path, str]:
    """Return the path of a checkpoint or an exported file, and a remark for the user or ''.

    Args:
        given: A checkpoint; a run folder (its best, else its last); `best` or `last` of the newest run under `root`; or
            an exported file.
        root: The folder that contains lightning_logs/.

    Raises:
        UserError: There is no such run, or it is a folder of exported files.
    """
    folder = Path(given).expanduser()
    if folder.is_dir() and runs.find_in(folder, "best", "last") is None and (files := exported_in(folder)):
        names = ", ".join(str(file) for file in files)
        raise UserError(f"a candidate must be a file, got {folder}, a folder of exported files: give some of {names}")
    return find_checkpoint(given, root)


def open_candidate(path: Path, name: str, trust: Iterable[str] = ()) -> Candidate:
    """Load a checkpoint or an exported file.

    Args:
        path: The file.
        name: Its short name.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.

    Raises:
        UserError: The file cannot be used, and why.
    """
    form = identify(path)
    if form is None:
        return _open_checkpoint(path, name, trust)
    kind = format_class(form, needed_by=str(path))(trust)
    metadata = Metadata.from_strings(kind.read_metadata(path), path)
    size, recorded = path.stat().st_size, _record_of_run(path, metadata)
    if form in WEIGHTS:
        network = load_weights(form, path, trust)
        sizes = sizes_of_network(network, metadata.input_format.image_size)
        return Candidate(name, path, form, metadata, run_of(network), network, sizes, size, recorded)
    if form == "torch_export":
        return _open_program(path, name, metadata, recorded, trust)
    from dasc.export.onnx_file import read_model

    proto = read_model(path)
    run = kind.open(path, torch.get_num_threads())
    sizes = sizes_of_graph(path, metadata, count_weights(proto), trust)
    form = "int8" if is_quantised(proto) else form
    return Candidate(name, path, form, metadata, run, None, sizes, size, recorded)


def _open_checkpoint(path: Path, name: str, trust: Iterable[str]) -> Candidate:
    network, _, recorded = checkpoint.load_network(path, trust)
    network = network.float()
    try:
        form = InputFormat.of_checkpoint(recorded)
        if not recorded.get("classes"):
            raise UserError("the checkpoint does not record its classes: use one of a run on ImageData")
    except UserError as error:
        raise UserError(f"{path} cannot be compared: {error}") from None
    blocks = auxiliary_blocks(network)
    if blocks:
        set_auxiliary_blocks(network, 0)
    description = {key: recorded["network"][key] for key in ("class_path", "init_args")}
    metadata = Metadata(description, structure_of(network), tuple(recorded["classes"]), form)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    sizes = sizes_of_network(network, form.image_size)
    return Candidate(name, path, CHECKPOINT, metadata, run_of(network), network, sizes, size, recorded, blocks)


def _open_program(
    path: Path, name: str, metadata: Metadata, recorded: Mapping[str, Any] | None, trust: Iterable[str]
) -> Candidate:
    """Load a file of torch.export; its network is rebuilt with the weights of the graph where that is possible."""
    from dasc.export.torch_export_file import load_program

    program = load_program(path)
    prefix = "network." if metadata.preprocess else ""
    state = {key.removeprefix(prefix): value for key, value in program.state_dict().items() if key.startswith(prefix)}
    network = None
    with suppress(UserError):
        network = rebuild(metadata, state, path, trust)
    if network is None:
        sizes = sizes_of_graph(path, metadata, None, trust)
    else:
        sizes = sizes_of_network(network, metadata.input_format.image_size)
    return Candidate(
        name, path, "torch_export", metadata, run_of(program), network, sizes, path.stat().st_size, recorded
    )


def _record_of_run(path: Path, metadata: Metadata) -> Mapping[str, Any] | None:
    """Return the data under `dasc` of a checkpoint of the run whose folder contains a file; None without one.

    A run with other classes or another image size than the file is not its run.
    """
    own = list(metadata.classes), list(metadata.input_format.image_size)
    for folder in path.absolute().parents:
        if folder.parent.name == runs.LOGS and (found := runs.find_in(folder, "best", "last")) is not None:
            with suppress(UserError):
                recorded: dict[str, Any] = checkpoint.read(found, mmap=True)["dasc"]
                of_run = (list(recorded.get(key) or ()) for key in ("classes", "image_size"))
                return recorded if own == tuple(of_run) else None
    return None
