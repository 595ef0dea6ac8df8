"""Networks from the metadata and the tensors of an exported file."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from dasc.checkpoint import check_trusted
from dasc.errors import UserError, one_line
from dasc.export.allocation import AllocationLimit
from dasc.export.format import CPU, Run
from dasc.export.metadata import Metadata
from dasc.networks import build_network
from dasc.stages.structure import restore_structure

_MODULES_PER_TENSOR = 8
"""Upper bound for the modules of a network by the tensors of its state_dict; ResNets have about 1."""

_BYTES_PER_BYTE = 4
"""Upper bound for the memory of a network while it is built, by the bytes of its state_dict; some constructors, such as
those with orthogonal initialisation, need temporary tensors."""

_BUFFERS = 2**20
"""Bytes of small tensors that a network has beyond its state_dict."""


class _TooManyModulesError(Exception):
    """The metadata describe a network with many more layers than the file has tensors."""


def rebuild(metadata: Metadata, state: Mapping[str, Tensor], source: object, trust: Iterable[str] = ()) -> nn.Module:
    """Build the network that metadata describe, with the tensors of a file.

    The shapes of the network are compared with those of the tensors before memory is allocated for it. A network has
    no memory for channels that were removed, unless it can be built on the CPU only. The memory is bounded.

    Args:
        metadata: The description.
        state: The state_dict: names, shapes and dtypes must be those of the network.
        source: The file, for errors.
        trust: Modules whose network classes may be imported, in addition to `dasc.checkpoint.TRUSTED`.

    Returns:
        The network on the CPU, in eval mode; its tensors are copies.

    Raises:
        UserError: The class is not trusted or cannot be imported, or the tensors are not those of the network.
    """
    check_trusted(source, metadata.network["class_path"], trust)
    limit = 100 + _MODULES_PER_TENSOR * len(state)
    allowed = _BYTES_PER_BYTE * sum(tensor.nbytes for tensor in state.values()) + _BUFFERS
    with torch.random.fork_rng(devices=[]), AllocationLimit(allowed, on_meta=False):
        network = _build_on_meta(metadata, state, source, limit)
        try:
            if network is not None:
                copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
                network.load_state_dict(copies, assign=True)
                return network.eval()
            network = _build(metadata, source, limit)
            _check(network, state, source)
            network.load_state_dict(dict(state))
        except (NotImplementedError, RuntimeError):
            raise UserError(f"{source} is damaged: its tensors cannot be read; export it again") from None
    return network.eval()


def _build_on_meta(metadata: Metadata, state: Mapping[str, Tensor], source: object, limit: int) -> nn.Module | None:
    """Return the network on the meta device; None if it has to be built on the CPU.

    That is so for constructors that read values of their tensors, and for tensors that the state_dict does not give:
    buffers that are not persistent, tensors in attributes, and parameters that layers share.
    """
    try:
        with torch.device("meta"):
            network = _build(metadata, source, limit)
    except (NotImplementedError, RuntimeError):
        return None
    _check(network, state, source)
    tensors = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    are_own = len({id(tensor) for _, tensor in tensors}) == len(tensors) and all(name in state for name, _ in tensors)
    attributes = (value for module in network.modules() for value in vars(module).values())
    return network if are_own and not any(isinstance(value, Tensor) for value in attributes) else None


def contiguous_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the state_dict of a network, in which each tensor is contiguous and has memory of its own."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }


def run_of(module: nn.Module, device: torch.device = CPU) -> Run:
    """Return the forward pass of a module in eval mode, which is moved to a device."""
    module = module.to(device)

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        outputs: Tensor = module(images.to(device))
        return outputs.float().cpu()

    return run


def _build(metadata: Metadata, source: object, limit: int) -> nn.Module:
    """Build a network without the tensors of the file."""
    try:
        with _limited_modules(limit):
            network = build_network(dict(metadata.network))
            restore_structure(network, metadata.structure)
    except UserError as error:
        raise UserError(f"{source} cannot be used: {error}") from None
    except (NotImplementedError, RuntimeError) as error:
        if torch.get_default_device().type == "meta":
            raise
        raise UserError(_not_built(metadata, source, error)) from None
    except Exception as error:  # a constructor with wrong arguments raises any error
        raise UserError(_not_built(metadata, source, error)) from None
    return network


def _not_built(metadata: Metadata, source: object, error: Exception) -> str:
    name, text = metadata.network["class_path"].rpartition(".")[2], one_line(error)
    return f"{source} is damaged: no {name} can be built from its metadata ({text[:200]}); export it again"


@contextmanager
def _limited_modules(limit: int) -> Iterator[None]:
    """Stop the construction of a network with more modules than `limit`, whose depth a file only claims."""
    count = 0

    def check(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise _TooManyModulesError("more layers than the file has tensors")

    handle = register_module_module_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _check(network: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    expected = network.state_dict()
    if problem := _difference(expected, state):
        raise UserError(f"{source} is damaged: {problem}; export it again")


def _difference(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return the first difference of a state_dict from that of the network; empty if there is none."""
    for name, tensor in expected.items():
        if name not in state:
            return f"the tensor {name} of its network is missing"
        if state[name].shape != tensor.shape:
            return f"the shape of {name} must be {list(tensor.shape)}, got {list(state[name].shape)}"
        if state[name].dtype != tensor.dtype:
            return f"the dtype of {name} must be {tensor.dtype}, got {state[name].dtype}"
    foreign = next((name for name in state if name not in expected), None)
    return "" if foreign is None else f"its network has no tensor {foreign}"
