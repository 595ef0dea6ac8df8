"""Trial of a module before its training: its network at the image size, and its optimizer on the weights."""

import copy
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dasc.data import ImageData
from dasc.data.checks import size_text
from dasc.errors import UserError, one_line
from dasc.modules.classifier import Classifier
from dasc.networks import TorchvisionNetwork

SIZES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512)
"""Image sizes that are tried for a network that does not run at the one of the data."""

_RULES = {
    "lr": (">= 0", "learning rate"),
    "momentum": (">= 0", "momentum value"),
    "weight_decay": (">= 0", "weight_decay"),
    "eps": (">= 0", "epsilon"),
    "betas": ("two numbers >= 0 and < 1", "beta param"),
    "alpha": (">= 0", "alpha"),
    "rho": (">= 0 and <= 1", "rho"),
    "lr_decay": (">= 0", "lr_decay"),
    "nesterov": ("false without momentum or with dampening", "Nesterov momentum"),
}
"""By the setting of an optimizer: its rule, and what torch's message on it contains."""


def check_trainable(module: Classifier, data: ImageData) -> None:
    """Check that a module can be trained on images of the size of the data; nothing of it changes.

    Args:
        module: The module, on the CPU.
        data: The data of the training.

    Raises:
        UserError: The optimizer does not accept its settings or the weights, or the network fails on such images.
    """
    check_optimizer(module)
    check_network(module.network, data.image_size, data.num_classes)


def check_optimizer(module: Classifier) -> None:
    """Check that the optimizer of a module accepts its settings, the weights and dense gradients.

    Raises:
        UserError: It does not.
    """
    try:
        optimizer = module.optimizer(module.parameters())
    except (ValueError, TypeError) as error:
        raise UserError(_optimizer_text(error)) from error
    if "dense gradients" in _error_of_a_step(module):
        name = type(optimizer).__name__
        raise UserError(f"model.optimizer must be for dense gradients, got {name}: take SGD, Adam or AdamW")


def _error_of_a_step(module: Classifier) -> str:
    """Return the message of an optimizer that fails on a gradient on the CPU; some are for other devices only."""
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    try:
        module.optimizer([weight]).step(lambda: 0.0)
    except Exception as error:
        return str(error)
    return ""


def check_network(network: nn.Module, size: tuple[int, int], num_classes: int) -> None:
    """Check that a network maps images of a size to logits.

    Args:
        network: The network, on the CPU.
        size: Height and width of the images.
        num_classes: Number of classes of the data.

    Raises:
        UserError: The network fails on such images, or does not return logits (B, num_classes).
    """
    shadow = _without_values(network)
    error = _error_of(shadow, size, num_classes)
    if error is not None:  # some networks fail without values only
        error = _error_of(copy.deepcopy(network), size, num_classes)
    if error is None:
        return
    other = next((side for side in SIZES if _error_of(shadow, (side, side), num_classes) is None), None)
    if other is not None:
        name = network.name if isinstance(network, TorchvisionNetwork) else type(network).__name__
        is_only = _error_of(shadow, (other + 1, other + 1), num_classes) is not None
        rule = f"{other}" if is_only else "another" if min(size) > other else "larger"
        raise UserError(
            f"data.image_size must be {rule} for network {name}, got {size_text(size)}: {_line(error)}; add "
            f"--data.image_size {other}, or take a network for small images such as CifarResNet"
        ) from error
    raise UserError(
        f"model.network must map images (B, 3, {size[0]}, {size[1]}) to logits (B, {num_classes}), got an error in "
        f"{_place(error)}: {type(error).__name__}: {_line(error)}"
    ) from error


def _without_values(network: nn.Module) -> nn.Module:
    """Return a copy of a network on the device meta, which takes no memory and computes shapes only."""
    tensors: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in network.parameters()}
    tensors |= {id(buffer): buffer.to("meta") for buffer in network.buffers()}
    return copy.deepcopy(network, tensors)


def _error_of(network: nn.Module, size: tuple[int, int], num_classes: int) -> Exception | None:
    """Return the error of a network, which is set to eval mode, on two images; None if it returns their logits."""
    own = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(0))
    images = torch.zeros(2, 3, *size, device=own.device, dtype=own.dtype)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network.eval()(images)
    except Exception as error:
        return error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 2 or logits.shape[1] < num_classes:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        return TypeError(f"for two images it returns {got}")
    return None


def _optimizer_text(error: Exception) -> str:
    optimizer = next((frame["self"] for frame in _locals(error) if isinstance(frame.get("self"), Optimizer)), None)
    name = type(optimizer).__name__
    if "2D parameters" in str(error):
        return f"model.optimizer must be for weights of all shapes, got {name}, which is for matrices only: take SGD"
    for setting, (rule, text) in _RULES.items():
        given = next((frame[setting] for frame in _locals(error) if setting in frame), None)
        if text in str(error) and given is not None:
            remedy = f"add --model.optimizer.{setting} false" if setting == "nesterov" else f"give {name} another value"
            return f"model.optimizer.{setting} must be {rule}, got {given}: {remedy}"
    of = f" of {name}" if optimizer is not None else ""
    return f"model.optimizer must have valid settings{of}, got an error: {_line(error)}"


def _locals(error: Exception) -> Iterator[dict[str, Any]]:
    """Yield the local variables of the frames of an error, the innermost first."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        yield frame.f_locals


def _line(error: Exception) -> str:
    return re.sub(r"[.!]+$", "", one_line(error))


def _place(error: Exception) -> str:
    """Return the innermost line outside of torch that raised an error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "torch" not in Path(f.filename).parts]
    at = frames[-1] if frames else None
    return "its forward" if at is None else f"{Path(at.filename).name}, line {at.lineno}"
