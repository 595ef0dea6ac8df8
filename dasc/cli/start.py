"""Start of a run: at its first epoch, from another run's network, or at a checkpoint of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from dasc import checkpoint, runs
from dasc.callbacks.averaging import averaging_of
from dasc.config import root_of
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, start_from, trainer_settings
from dasc.modules.trial import check_trainable
from dasc.networks import Pretrained, load_pretrained
from dasc.plan import Epoch, epoch_of
from dasc.trainer_rules import as_list


class Start(NamedTuple):
    """Start of a run."""

    checkpoint: Path | None = None
    """The checkpoint that the run continues from; None for a new run."""

    epochs_done: int = 0
    """Completed epochs of the checkpoint."""

    rows: Sequence[dict[str, Any]] = ()
    """Finished rows of stages.csv of the checkpoint."""

    folder: Path | None = None
    """The folder of the run that is continued; None if a new one is made."""


def prepare_start(config: Namespace, model: Classifier, data: ImageData, load_weights: bool = True) -> Start:
    """Prepare a module for training, and return where the run starts.

    Args:
        config: The config with its classes made.
        model: Gets its averaging, its teacher, and the network of `init_from` in a new run.
        data: The data of the run.
        load_weights: Whether a new run's network gets its pretrained weights, which may have to be downloaded.

    Raises:
        UserError: The checkpoint cannot be continued by this config, `init_from` does not fit the network, or the
            module cannot be trained on the data.
    """
    model.averaging = averaging_of(as_list(config.trainer.callbacks))
    check_trainable(model, data)
    model.prepare(data)
    root = root_of(config)
    path = _find_checkpoint(config, model, data, root)
    if path is None:
        if config.init_from is None or config.init_from.load == "masks":
            _prepare_weights(model, load_weights)
        if config.init_from is not None:
            start_from(model, config.init_from)
        return Start()
    recorded = checkpoint.read(path)["dasc"]
    data.use(recorded)
    folder = runs.folder_to_continue(path, root)
    return Start(path, recorded["epochs_done"], recorded.get("rows", []), folder)


def _prepare_weights(model: Classifier, load: bool) -> None:
    """Load the pretrained weights of a new run's network, or only check that their file exists."""
    pretrained = getattr(model.network, "pretrained", None)
    if load:
        load_pretrained(model.network)
    if isinstance(pretrained, Pretrained):
        pretrained.check_file()
        rank_zero_only(print)(f"Pretrained weights: {pretrained.describe()}")


def length_of_epoch(config: Namespace, data: ImageData) -> Epoch:
    """Return the images and steps of an epoch.

    Raises:
        UserError: The limits of the trainer leave no batch.
    """
    trainer, images = config.trainer, data.counts()["train"]
    limit = trainer.overfit_batches or trainer.limit_train_batches
    epoch = epoch_of(images, data.batch_size, limit, trainer.accumulate_grad_batches)
    if epoch.steps == 0:
        name = "overfit_batches" if trainer.overfit_batches else "limit_train_batches"
        batches = images // data.batch_size
        raise UserError(f"trainer.{name} must leave one of the {batches} batches of an epoch, got {limit}")
    return epoch


def _find_checkpoint(config: Namespace, model: Classifier, data: ImageData, root: Path) -> Path | None:
    """Return the file that `ckpt_path` names: a path, or the `last` of a folder.

    Without a folder, `last` is that of the newest run that this config may continue.
    """
    given = config.get("ckpt_path")
    if given is None:
        return None
    current = _describe(config, model, data)
    if given != "last":
        named = runs.checkpoint_in(given, "last")
        read = checkpoint.read(named)
        checkpoint.check_continues(read["dasc"], current)
        checkpoint.check_complete(read, named)
        return named
    path, reason = runs.newest_to_continue(root, current)
    if path is None:
        newest = f" ({reason})" if reason else ""
        print(f"No run under {root / runs.LOGS} can be continued by this config{newest}: starting a new one")
    elif reason:
        print(reason)
    return path


def _describe(config: Namespace, model: Classifier, data: ImageData) -> dict[str, Any]:
    """Return what a checkpoint of this run would record of it."""
    of_data = {"classes": list(data.class_names), "data": data.describe(), "split": data.source.record()}
    return model.describe() | of_data | {"trainer": trainer_settings(config.trainer)}
