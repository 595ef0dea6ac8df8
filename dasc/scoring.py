"""Scoring: the checkpoint that `validate`, `test` and `predict` score, and tests of single networks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from torch import nn

from dasc import checkpoint, runs
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.importing import import_object
from dasc.modules import Classifier
from dasc.networks import auxiliary_blocks
from dasc.stages import Stages

ALLOW = "--allow_training_images"
"""The option that scores images which the checkpoint was trained on."""


def find_checkpoint(given: str | None, root: Path, config: Any) -> tuple[Path, dict[str, Any]]:
    """Return the path of the checkpoint to score, and its data under `dasc`.

    Args:
        given: A path; a run folder, for its best checkpoint; or `best` or `last` of the newest run under `root` with
            the network and the data of the config.
        root: The folder that contains lightning_logs/.
        config: The parsed config of the command, before its classes are made.

    Raises:
        UserError: There is no such checkpoint, or it cannot be read.
    """
    if given is None:
        raise UserError("--ckpt_path is missing: give a checkpoint, or best or last for the newest run's")
    if given not in ("best", "last"):
        path = runs.checkpoint_in(given)
        return path, checkpoint.read(path, mmap=True)["dasc"]
    path, recorded, remark = runs.newest_with(root, given, lambda recorded: difference(recorded, config))
    if remark:
        print(remark)
    return path, recorded


def difference(recorded: Mapping[str, Any], config: Any) -> str:
    """Return how network or data of a config differ from those of a run, as a clause; empty if they do not.

    Args:
        recorded: The data of a checkpoint under `dasc`.
        config: The parsed config of a command.
    """
    network, of_run = _network_of(config.model.init_args.network), _plain(recorded["network"])
    if network != of_run:
        return f"model.network is {network}, recorded is {of_run}"
    data, of_run = config.data.init_args, recorded.get("data", {})
    if of_run and data.dataset != of_run["dataset"]:
        return f"data.dataset is {data.dataset}, recorded is {of_run['dataset']}"
    folder = recorded.get("root")
    if data.dataset == "folder" and folder and _absolute(folder) != _absolute(data.root):
        return f"data.root is {data.root}, recorded is {folder}"
    return ""


def _network_of(config: Any) -> dict[str, Any]:
    """Return what `describe_network` would return of the network of a config, without the number of classes."""
    kind = import_object(config.class_path)
    arguments = dict(config.get("init_args") or {})
    return _plain({"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments})


def _plain(network: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the number of classes, which follows from the data."""
    arguments = {name: value for name, value in network["init_args"].items() if name != "num_classes"}
    return {"class_path": network["class_path"], "init_args": arguments}


def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))


def run_test(
    trainer: Trainer, network: nn.Module, data: ImageData, metric_names: Sequence[str] | None = None
) -> dict[str, float]:
    """Test a network as `dasc test` does.

    Args:
        trainer: Runs the test.
        network: Maps normalised images (B, 3, H, W) to logits (B, num_classes).
        data: Its test images are scored.
        metric_names: Names of metrics of `dasc.metrics.METRICS`; None: all.

    Returns:
        The values by name. Metrics that need features are missing for a network without a linear last layer.

    Raises:
        UserError: A metric is unknown.
    """
    module = Classifier(network, Stages.parse([{"epochs": 1, "auxiliary": auxiliary_blocks(network)}]))
    module.metric_names = metric_names
    (values,) = trainer.test(module, datamodule=data, verbose=False)
    return {name.removeprefix("test/"): value for name, value in values.items()}
