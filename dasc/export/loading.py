"""Loading of exported files that have the weights only, and lines of code that load any exported file."""

import json
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

from torch import nn

from dasc.checkpoint import TRUSTED

_LOADERS = {
    "safetensors": "load_safetensors",
    "sparse": "load_sparse",
    "state_dict": "load_state_dict_file",
}
"""Function of `dasc.export` that rebuilds the network, by format."""

WEIGHTS = tuple(_LOADERS)
"""Formats that have the weights only."""


def load_weights(form: str, path: Path, trust: Iterable[str] = ()) -> nn.Module:
    """Rebuild the network of a file that has the weights only.

    Args:
        form: Name of its format, one of `WEIGHTS`.
        path: The file.
        trust: Modules whose network classes may be imported; see `dasc.checkpoint.load_network`.

    Returns:
        The network on the CPU, in eval mode.

    Raises:
        UserError: The file cannot be used, and why.
    """
    network: nn.Module = resolve_name(f"dasc.export:{_LOADERS[form]}")(path, trust)
    return network


class Loading(NamedTuple):
    """Lines that map `images` to `outputs`, as (PyTorch) tensors and (ONNX Runtime) NumPy arrays."""

    pytorch: tuple[str, ...]
    """Empty where PyTorch cannot load the file."""
    onnxruntime: tuple[str, ...]
    """Empty where ONNX Runtime cannot load the file."""


def loading_lines(form: str, name: str, class_path: str) -> Loading:
    """Return three lines that load and run a file, for each runtime that can.

    Args:
        form: Name of the format, or `int8`.
        name: Name of the file.
        class_path: Import path of the network's class.

    Raises:
        KeyError: The format is unknown.
    """
    file = json.dumps(name, ensure_ascii=False)
    if form in ("onnx", "int8"):
        session = f'session = onnxruntime.InferenceSession({file}, providers=["CPUExecutionProvider"])'
        run = "(outputs,) = session.run(None, {session.get_inputs()[0].name: images})"
        return Loading((), ("import onnxruntime", session, run))
    if form == "torch_export":
        load = f"network = torch.export.load({file}).module()"
        return Loading(("import torch", load, "outputs = network(images)"), ())
    function = _LOADERS[form]
    package = class_path.partition(".")[0]
    trust = "" if package in TRUSTED else f", trust=[{json.dumps(package)}]"
    load = f"network = {function}({file}{trust})"
    return Loading((f"from dasc.export import {function}", load, "outputs = network(images)"), ())
