"""Pretrained weights of torchvision's networks, by name or in a local file."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision import models

from dasc.errors import UserError
from dasc.networks.auxiliary import NAME as AUXILIARY
from dasc.networks.download import download, file_name
from dasc.networks.state_file import SUFFIXES, read_state_dict
from dasc.preprocessing import Preprocessing

OPTION = "model.network.weights"
"""Option of a training that names pretrained weights."""

_deferred: ContextVar[bool] = ContextVar("deferred", default=False)

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""Keys of torchvision's DenseNet files, which it renames too: `norm.1` is `norm1` now."""


@contextmanager
def deferred_weights() -> Iterator[None]:
    """Build networks without their pretrained weights; `load_pretrained` loads them later.

    A network that a checkpoint is loaded into does not need them.
    """
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)


def weights_are_deferred() -> bool:
    """Return whether this is within `deferred_weights`."""
    return _deferred.get()


def load_pretrained(network: nn.Module) -> None:
    """Load the pretrained weights of a network that was built within `deferred_weights`; others stay as they are.

    Raises:
        UserError: They cannot be downloaded or read, or are of another network.
    """
    load = getattr(network, "load_pretrained", None)
    if load is not None:
        load()


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights of a network of torchvision.

    Args:
        network: Name of the network.
        weights: Name of the weights, or path of a file with a state_dict.
        option: Option that names the weights, for errors.
        remedy: What a user without a connection can do, for errors.

    Raises:
        UserError: The network has no such weights, and there is no such file.
    """

    network: str
    weights: str
    option: str = OPTION
    remedy: str = f"download it elsewhere and set {OPTION} to its path"

    def __post_init__(self) -> None:
        names = self._choices().__members__
        if self.weights not in names and not self._looks_like_a_file():
            raise UserError(
                f"{self.option} must be one of {', '.join(sorted(names))} for {self.network}, or the path of a file "
                f"with its state_dict, got '{self.weights}'"
            )

    def _choices(self) -> Any:
        return models.get_model_weights(self.network)

    def _looks_like_a_file(self) -> bool:
        separators = {"/", os.sep}
        return Path(self.weights).suffix in SUFFIXES or any(s in self.weights for s in separators) or self._is_file()

    def _is_file(self) -> bool:
        return Path(self.weights).is_file()

    def known(self) -> Any | None:
        """Return torchvision's weights of this name, or with a file of this name; None for any other file."""
        choices = self._choices()
        if self.weights in choices.__members__:
            return choices[self.weights]
        return next((choice for choice in choices if file_name(choice.url) == Path(self.weights).name), None)

    def preprocessing(self) -> Preprocessing | None:
        """Return what the weights expect of images; None where the file is not one of torchvision's."""
        known = self.known()
        if known is None:
            return None
        transforms = known.transforms()
        mean, std = tuple(map(float, transforms.mean)), tuple(map(float, transforms.std))
        return Preprocessing(mean, std, transforms.interpolation.value)

    def describe(self) -> str:
        """Return in words where the weights come from, and which preprocessing they bring."""
        known, preprocessing = self.known(), self.preprocessing()
        if known is None or preprocessing is None:
            return f"{self.weights}, without a normalisation of its own: mean and std are those of the data"
        source = self.weights if self.weights == known.name else f"{self.weights} ({known.name})"
        mean, std = (" ".join(f"{value:.4g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
        return f"{source}, with mean {mean}, std {std} and {preprocessing.interpolation} interpolation"

    def check_file(self) -> None:
        """Check that a local file exists.

        Raises:
            UserError: It does not.
        """
        if self.weights not in self._choices().__members__ and not self._is_file():
            raise UserError(f"there is no file {self.weights}: check {self.option}")

    def load_into(self, model: nn.Module) -> None:
        """Load the weights into torchvision's network; a last layer with other classes keeps its own.

        Raises:
            UserError: They cannot be downloaded or read, or are of another network.
        """
        choices = self._choices()
        if self.weights in choices.__members__:
            path = download(choices[self.weights].url, self.option, self.remedy)
        else:
            path = Path(self.weights)
        state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in read_state_dict(path, self.option).items()}
        own = model.state_dict()
        fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
        different = _different(state, own, fitting)
        if different:
            raise UserError(
                f"{self.option} must be weights of {self.network}, got {path} of another network "
                f"({len(different)} keys or shapes differ, the first is {different[0]})"
            )
        model.load_state_dict(own | fitting)


def _different(state: Mapping[str, Tensor], own: Mapping[str, Tensor], fitting: Mapping[str, Tensor]) -> list[str]:
    """Return the keys that make a state_dict one of another network.

    The last layer may have other classes, auxiliary blocks are not pretrained, and old files lack BatchNorm's counters.
    """
    head = list(own)[-1].rpartition(".")[0]
    free = [key for key in own if key.rpartition(".")[0] == head or f".{AUXILIARY}." in key]
    free += [key for key in own if key.endswith(".num_batches_tracked")]
    return [key for key in {**own, **state} if key not in fitting and key not in free]
