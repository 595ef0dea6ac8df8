"""Starting a new run from the network of another one."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dasc.checkpoint import load_network
from dasc.errors import UserError
from dasc.modules.classifier import Classifier
from dasc.modules.pruned import PrunedClassifier
from dasc.networks import auxiliary_blocks, describe_network
from dasc.pruning.channels import observe_sizes, removed_share, restore_sizes


@dataclass(frozen=True)
class InitFrom:
    """Where a new run takes its network from; to continue a run, use `--ckpt_path` instead.

    Args:
        path: A checkpoint of dasc.
        load: What is taken: the `weights`, the `masks` (over fresh weights), or `both`.
        head: `keep` the last layer, or make it `new`, as for other classes.
    """

    path: str = ""
    load: Literal["weights", "masks", "both"] = "weights"
    head: Literal["keep", "new"] = "keep"


def start_from(module: Classifier, source: InitFrom) -> None:
    """Bring weights or masks of a checkpoint into a module that has not been trained.

    Raises:
        UserError: The checkpoint does not fit the network, or the masks do not fit the module or its table.
    """
    if not source.path:
        raise UserError("init_from.path is missing: give the checkpoint that the run starts from")
    loaded = load_network(source.path, module.trusted_modules())
    _check_blocks(auxiliary_blocks(loaded.network), auxiliary_blocks(module.network), source.path)
    _take_sizes(module, loaded.network, source.path)
    if source.load in ("weights", "both"):
        _load_weights(module.network, loaded.network, source)
    if source.load in ("masks", "both"):
        _load_masks(module, loaded.masks, source.path)


def _check_blocks(given: int, asked: int, path: str) -> None:
    if given == asked:
        return
    remedy = "or take a checkpoint from after the drop" if given > asked else "or start from one that has them"
    raise UserError(
        f"{path} has {given or 'no'} auxiliary blocks, the first row of stages asks for {asked or 'none'}: "
        f"write auxiliary: {given} there, {remedy}"
    )


def _take_sizes(module: Classifier, other: nn.Module, path: str) -> None:
    """Remove as many channels as the network of a checkpoint has lost."""
    given, first = removed_share(other), module.stages[0].channels
    if given > first:
        raise UserError(
            f"{path} has lost {given:.4g} of its channels, the first row of stages asks for {first:g}: write "
            f"channels: {given!r} there, removed channels do not come back"
        )
    if given:
        restore_sizes(module.network, observe_sizes(other))
        module.on_structure_change()


def _load_weights(network: nn.Module, other: nn.Module, source: InitFrom) -> None:
    state, own = other.state_dict(), network.state_dict()
    if source.head == "new":
        head = list(own)[-1].rpartition(".")[0]
        state = {key: own[key] if key.rpartition(".")[0] == head else value for key, value in state.items()}
    different = sorted(
        {key for key in {*state, *own} if key not in state or key not in own or state[key].shape != own[key].shape}
    )
    if different:
        raise UserError(
            f"{source.path} has another network than this run ({different[0]} differs; it is "
            f"{describe_network(other)}): set model.network to it, or init_from.head to new if only the classes differ"
        )
    network.load_state_dict(state)


def _load_masks(module: Classifier, masks: dict[str, Tensor], path: str) -> None:
    if not isinstance(module, PrunedClassifier):
        raise UserError(f"init_from loads masks, but {type(module).__name__} has none: set model to PrunedClassifier")
    if not masks:
        raise UserError(f"{path} has no masks, its run did not prune: write init_from.load: weights")
    own = module.masks.by_name()
    if masks.keys() != own.keys() or any(masks[name].shape != own[name].shape for name in own):
        raise UserError(f"the masks in {path} are of other layers than this run prunes: use the same network and skip")
    with torch.no_grad():
        module.masks.set(masks)
    sparsity, first = module.masks.sparsity(), module.stages[0].sparsity
    if not module.masks.reached(first, module.criterion.layerwise) and sparsity > first:
        raise UserError(
            f"the masks in {path} have sparsity {sparsity:.4f}, the first row of stages only {first}: "
            "write at least that, pruned weights do not come back"
        )
    module.follow_masks()
