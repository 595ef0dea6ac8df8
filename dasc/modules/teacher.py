"""The trained network that a student learns from."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from dasc import checkpoint, networks, runs
from dasc.data import ImageData
from dasc.errors import UserError, unknown_name
from dasc.networks import build_network, forward_in_parts

SUFFIXES = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class TeacherConfig:
    """Where a teacher comes from: one of `path` and `weights`.

    Args:
        path: A checkpoint of dasc; the folder of a run, or one with runs in it, for the best checkpoint of the newest;
            or a state_dict (.pt, .pth, .safetensors) of `network`.
        network: The class of a state_dict's network, such as `CifarResNet` or `my_package.MyNetwork`.
        network_args: The arguments of that class, such as `{depth: 110}`; without `num_classes` it has the data's.
        mean: Mean of each channel in [0, 1] that the network of a state_dict was trained with; None: the data's.
        std: Standard deviation of each channel in [0, 1], likewise.
        weights: Weights of torchvision, such as `ResNet50_Weights.IMAGENET1K_V2`.
    """

    path: str = ""
    network: str = ""
    network_args: dict[str, Any] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    weights: str = ""


class LoadedTeacher:
    """A frozen network in eval mode. It is no `nn.Module`: a module that holds it does not train, move or save it.

    Args:
        network: Maps images (B, 3, H, W), normalised for the student, to logits (B, num_classes).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.requires_grad_(False).eval()
        self.hash = _hash(network)
        """SHA-256 of its parameters and buffers."""

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32, whole: bool = False) -> None:
        """Move it to a device.

        Args:
            device: The student's.
            dtype: Dtype of the weights of convolutions and linear layers. With autocast, which converts them at every
                step, the outputs are the same as with float32.
            whole: Whether all parameters and buffers get the dtype, as in `bf16-true`.
        """
        self.network.to(device, dtype if whole else torch.float32)
        for weight in networks.prunable_weights(self.network).values():
            weight.data = weight.data.to(dtype)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, 3, H, W) that are normalised for the student."""
        return forward_in_parts(self.network, images)


class Renormalised(nn.Module):
    """A network behind another normalisation than its own.

    Args:
        network: Maps images (B, 3, H, W) to logits (B, num_classes).
        own: Mean and standard deviation of each channel that it was trained with, (2, 3).
        given: Those that its images will have been normalised with, (2, 3).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, own: Tensor, given: Tensor) -> None:
        super().__init__()
        self.network = network
        self.num_classes = getattr(network, "num_classes", None)
        self.register_buffer("scale", (given[1] / own[1]).float().view(1, 3, 1, 1))
        self.register_buffer("shift", ((given[0] - own[0]) / own[1]).float().view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.network(images * self.scale + self.shift)
        return logits


def load_teacher(source: TeacherConfig, data: ImageData, trust: Iterable[str] = ()) -> LoadedTeacher:
    """Load a teacher of the classes of some data, onto the CPU.

    Args:
        source: The teacher.
        data: The data.
        trust: Modules whose network classes may be imported where a checkpoint names them; `source.network` adds its
            own.

    Raises:
        UserError: It cannot be found or read, or is of other classes, in one sentence.
    """
    _check_source(source)
    if source.weights:
        network, mean, std = _from_torchvision(source.weights, data)
    elif Path(source.path).suffix in SUFFIXES:
        network, mean, std = _from_state_dict(source, data)
    else:
        network, mean, std = _from_checkpoint(source, data, trust)
    data.measure()
    given = torch.tensor([data.mean, data.std], dtype=torch.float64)
    own = torch.tensor([mean or data.mean, std or data.std], dtype=torch.float64)
    return LoadedTeacher(network if torch.equal(own, given) else Renormalised(network, own, given))


_Parts = tuple[nn.Module, Sequence[float], Sequence[float]]
"""A network, and the mean and standard deviation of each channel that it was trained with; empty: the data's."""


def _check_source(source: TeacherConfig) -> None:
    if not source.path and not source.weights:
        raise UserError("teacher is not given: write teacher.path (a checkpoint) or teacher.weights (torchvision's)")
    if source.path and source.weights:
        raise UserError(
            f"teacher has both path {source.path} and weights {source.weights}: write one, and '' for the other"
        )
    for name in ("mean", "std"):
        given = getattr(source, name)
        if given is None:
            continue
        if Path(source.path).suffix not in SUFFIXES:
            raise UserError(f"teacher.{name} is for a state_dict, this teacher brings its own: leave it out")
        if len(given) != 3 or (name == "std" and min(given) <= 0):
            over = " over 0" if name == "std" else ""
            raise UserError(f"teacher.{name} is {given}: write three numbers{over}, one a channel")


def _from_checkpoint(source: TeacherConfig, data: ImageData, trust: Iterable[str]) -> _Parts:
    path = runs.checkpoint_in(source.path)
    named = [source.network.partition(".")[0]] if "." in source.network else []
    network, _, meta = checkpoint.load_network(path, [*trust, *named])
    _check_classes(str(path), getattr(network, "num_classes", len(meta["classes"])), meta["classes"], data)
    return network, meta["mean"], meta["std"]


def _from_torchvision(name: str, data: ImageData) -> _Parts:
    names = [model for model in models.list_models(module=models) if model not in networks.torchvision.TWO_OUTPUTS]
    kinds = {kind.__name__: kind for kind in map(models.get_model_weights, names)}
    kind, _, member = name.partition(".")
    known = [f"{kind}.{member}" for kind in kinds for member in kinds[kind].__members__]
    if name not in known:
        raise UserError(unknown_name("weights of torchvision", name, known))
    weights = kinds[kind][member]
    classes = weights.meta["categories"]
    _check_classes(name, len(classes), classes, data)
    model = next(model for model in names if models.get_model_weights(model) is kinds[kind])
    try:
        network = networks.TorchvisionNetwork(len(classes), model, member)
    except (OSError, RuntimeError) as error:  # no network, or a file with another hash
        raise UserError(f"the weights {name} cannot be downloaded ({error}): check the connection") from None
    transforms = weights.transforms()
    return network, transforms.mean, transforms.std


def _from_state_dict(source: TeacherConfig, data: ImageData) -> _Parts:
    if not source.network:
        raise UserError(
            f"{source.path} is a state_dict: write the class of its network as teacher.network, such as CifarResNet, "
            "and its arguments as teacher.network_args, such as {depth: 110}"
        )
    network = _build(source, data.num_classes)
    _check_classes(source.path, getattr(network, "num_classes", data.num_classes), (), data)
    state = _read_state(Path(source.path))
    _check_fits(source, state, network.state_dict())
    network.load_state_dict(state)
    return network, source.mean or (), source.std or ()


def _check_fits(source: TeacherConfig, state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    blocks = [key for key in state if ".auxiliary." in key and key not in own]
    if blocks:
        raise UserError(f"{source.path} has auxiliary blocks ({blocks[0]}): use the checkpoint, or one after the drop")
    different = [
        key for key in [*state, *own] if key not in state or key not in own or state[key].shape != own[key].shape
    ]
    if different:
        arguments = "".join(f", {name} {value}" for name, value in (source.network_args or {}).items())
        raise UserError(
            f"the weights in {source.path} are of another network than teacher.network {source.network}{arguments} "
            f"({len(different)} keys or shapes differ, the first is {different[0]}): write the one that they are of"
        )


def _build(source: TeacherConfig, num_classes: int) -> nn.Module:
    """Build the network of a state_dict; short names are those of `dasc.networks`."""
    name = source.network
    if "." not in name:
        known = [kind for kind in networks.__all__ if isinstance(getattr(networks, kind), type)]
        known = [kind for kind in known if issubclass(getattr(networks, kind), nn.Module)]
        if name not in known:
            raise UserError(unknown_name("class of teacher.network", name, known))
        name = f"dasc.networks.{name}"
    try:
        return build_network(
            {"class_path": name, "init_args": {"num_classes": num_classes, **(source.network_args or {})}}
        )
    except TypeError as error:
        raise UserError(f"teacher.network_args do not fit {name} ({error}): write the arguments of its class") from None


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"there is no file {path}: check teacher.path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise UserError(f"{path} needs the package safetensors: pip install safetensors") from None
    except Exception as error:  # whatever bytes make of the unpickler
        raise UserError(
            f"{path} cannot be read as a state_dict, it may be truncated ({type(error).__name__}): use another file"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no state_dict: save network.state_dict() in it, or use a checkpoint of dasc")
    return state


def _check_classes(name: str, count: int, classes: Sequence[str], data: ImageData) -> None:
    if count != data.num_classes:
        raise UserError(
            f"the teacher {name} has {count} classes, the data {data.num_classes}: use a teacher of the same classes"
        )
    for number, (theirs, ours) in enumerate(zip(classes, data.class_names, strict=False)):
        if theirs != ours:
            raise UserError(
                f"class {number} of the teacher {name} is '{theirs}', of the data '{ours}': "
                "use a teacher of the same classes in the same order"
            )


def _hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
