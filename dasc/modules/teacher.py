"""The trained network that a student learns from."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from dasc import checkpoint, networks, runs
from dasc.data import ImageData
from dasc.errors import UserError, unknown_name
from dasc.networks import Pretrained, build_network, forward_in_parts
from dasc.networks.download import cached_path
from dasc.networks.state_file import SUFFIXES, read_state_dict


@dataclass(frozen=True)
class TeacherConfig:
    """Where a teacher comes from: one of `path`, `weights` and `stage`.

    Args:
        path: A checkpoint of dasc; the folder of a run, or one with runs in it, for the best checkpoint of the newest;
            or a state_dict (.pt, .pth, .safetensors) of `network`.
        network: The class of a state_dict's network, such as `CifarResNet` or `my_package.MyNetwork`.
        network_args: The arguments of that class, such as `{depth: 110}`; without `num_classes` it has the data's.
        mean: Mean of each channel in [0, 1] that the network of a state_dict was trained with; None: the data's.
        std: Standard deviation of each channel in [0, 1], likewise.
        weights: Weights of torchvision, such as `ResNet50_Weights.IMAGENET1K_V2`.
        stage: Number of a stage of this run, from 1. The teacher is the student's own network as it is at the end of
            that stage, with the weights that stage-N.ckpt holds; up to then the loss is the cross entropy alone.
    """

    path: str = ""
    network: str = ""
    network_args: dict[str, Any] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    weights: str = ""
    stage: int | None = None


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


def check_stage(source: TeacherConfig, stages: int) -> None:
    """Check the settings of a teacher that is the network of a stage of the run itself.

    Args:
        source: The teacher; its `stage` is set.
        stages: Number of stages of the run.

    Raises:
        UserError: The stage is not one that a later stage can learn from, or the teacher has other settings.
    """
    number = source.stage
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"teacher.stage must be an integer >= 1, got {number}")
    if number >= stages:
        raise UserError(
            f"teacher.stage must be lower than the number of stages, {stages}, got {number}: "
            "no stage would learn from the teacher"
        )
    others = [name for name, value in asdict(source).items() if name != "stage" and value not in ("", None)]
    if others:
        raise UserError(
            f"teacher.stage must not be set together with teacher.{others[0]}, got {number} and "
            f"{getattr(source, others[0])}: leave one of them out"
        )


_Parts = tuple[nn.Module, Sequence[float], Sequence[float]]
"""A network, and the mean and standard deviation of each channel that it was trained with; empty: the data's."""


def _check_source(source: TeacherConfig) -> None:
    if not source.path and not source.weights:
        raise UserError("teacher is not given: write teacher.path (a checkpoint), weights (torchvision's) or stage")
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
    network = networks.TorchvisionNetwork(len(classes), model)
    remedy = f"download it elsewhere and copy it to {cached_path(weights.url)}"
    Pretrained(model, member, "teacher.weights", remedy).load_into(network.model)
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
    state = read_state_dict(source.path, "teacher.path")
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
