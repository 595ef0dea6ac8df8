"""What a checkpoint records of a run beside weights, and its comparison with another run."""

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from dasc import __version__, checkpoint
from dasc.errors import UserError
from dasc.modules.progress import Position
from dasc.networks import describe_network
from dasc.seeding import run_seed

if TYPE_CHECKING:
    from dasc.modules.classifier import Classifier


def describe_run(module: "Classifier") -> dict[str, Any]:
    """Return, as plain data, the network, the data, the settings and the table of a run."""
    trainer = module._trainer
    data = getattr(trainer, "datamodule", None)
    return {
        "format": checkpoint.FORMAT,
        "version": __version__,
        "network": describe_network(module.network),
        "classes": list(data.class_names) if data else [],
        "image_size": list(data.image_size) if data else [],
        "mean": list(data.mean) if data else [],
        "std": list(data.std) if data else [],
        "interpolation": data.source.interpolation if data else "",
        "data": data.describe() if data else {},
        "root": data.root if data else "",
        "split": data.source.record() if data else {},
        "recipe": module.recipe(),
        "trainer": trainer_settings(trainer),
        "seed": run_seed(),
        "stages": module.stages.dump(),
    }


def describe_position(module: "Classifier", at: Position) -> dict[str, Any]:
    """Return, as plain data, how far a run is, and how fast it runs."""
    performance = {
        "precision": str(module.trainer.precision),
        "compile": module.compile_network,
        "processes": module.trainer.world_size,
    }
    return {
        "epoch": at.epoch,
        "epochs_done": at.epoch + at.closed,
        "stage": module.stages.stage_at(at.epoch),
        "performance": performance,
    }


def describe_optimizer(optimizer: OptimizerCallable) -> dict[str, Any]:
    """Return, as plain data, the class and the settings of an optimizer, without those of its implementation."""
    made = optimizer([nn.Parameter(torch.zeros(1))])
    settings = {name: value for name, value in made.defaults.items() if name not in ("foreach", "fused")}
    return {"class": type(made).__name__} | {name: _plain(value) for name, value in settings.items()}


def check_loads(module: "Classifier", loaded: dict[str, Any], continues: bool) -> None:
    """Check that a checkpoint is of the network of a module and, to resume a run, of its run.

    Raises:
        UserError: It is not, and why.
    """
    if "dasc" not in loaded:
        raise UserError("the checkpoint is not of a dasc run: use a file from its checkpoints/ folder")
    if continues:
        checkpoint.check_continues(loaded["dasc"], module.describe())
        return
    network = describe_network(module.network)
    if loaded["dasc"]["network"] != network:
        raise UserError(
            f"the checkpoint is of another network: it has {loaded['dasc']['network']}, this run asks for "
            f"{network}: set model.network to the checkpoint's"
        )


def trainer_settings(trainer: Any) -> dict[str, Any]:
    """Return, as plain data, the settings of a trainer that must be equal to resume a run.

    Args:
        trainer: Lightning's Trainer, or the part `trainer` of a config; None has the defaults.
    """
    limit, overfit = (getattr(trainer, name, None) for name in ("limit_train_batches", "overfit_batches"))
    clip = getattr(trainer, "gradient_clip_val", None)
    algorithm = getattr(trainer, "gradient_clip_algorithm", None) or "norm"
    return {
        "accumulate_grad_batches": getattr(trainer, "accumulate_grad_batches", None) or 1,
        "gradient_clip_val": clip,
        "gradient_clip_algorithm": None if clip is None else str(getattr(algorithm, "value", algorithm)),
        "limit_train_batches": _batch_limit(overfit or (1.0 if limit is None else limit)),
        "overfit_batches": _batch_limit(overfit or 0.0),
    }


def _batch_limit(limit: int | float) -> float | str:
    """Return a limit so that 1 batch and the share 1.0 are not equal."""
    return limit if isinstance(limit, float) else f"{limit} batches"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, Tensor) else value
