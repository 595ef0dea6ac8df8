"""Check of the values that callbacks of Lightning monitor."""

from collections.abc import Iterable

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from dasc.errors import UserError, unknown_name
from dasc.modules import Classifier, DistilledClassifier
from dasc.stages import in_order

_EVERY = (
    *("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr"),
    *("images_per_second", "seconds_per_step", "recalibration_batches"),
)
_DISTILLED = ("ce", "kl", "teacher_accuracy", "teacher_entropy", "misclassified_views", "chosen_magnitude")


def logged_names(module: Classifier) -> list[str]:
    """Return the names that a training of one of dasc's modules logs, with those of the columns of its table."""
    stages = module.stages
    names = [*_EVERY, *(column.name for column in in_order() if column.is_curve(stages.column(column.name)))]
    if isinstance(module, DistilledClassifier):
        names += [f"train/{name}" for name in _DISTILLED]
    return names


def check_monitors(callbacks: Iterable[Callback], module: Classifier) -> None:
    """Check that what EarlyStopping and ModelCheckpoint monitor is logged.

    Modules and callbacks that are neither dasc's nor Lightning's may log other names, so with them all are accepted.

    Args:
        callbacks: The callbacks of the config.
        module: The module that is trained.

    Raises:
        UserError: A monitor is not logged.
    """
    given = list(callbacks)
    if any(type(one).__module__.partition(".")[0] not in ("dasc", "lightning") for one in (module, *given)):
        return
    names = logged_names(module)
    for callback in given:
        monitor = getattr(callback, "monitor", None)
        known = [*names, "epoch", "step"] if isinstance(callback, ModelCheckpoint) else names
        if not isinstance(callback, EarlyStopping | ModelCheckpoint) or monitor is None or monitor in known:
            continue
        if any(isinstance(one, LearningRateMonitor) for one in given) and monitor.startswith("lr-"):
            continue
        raise UserError(f"trainer.callbacks {type(callback).__name__}: {unknown_name('monitor', monitor, known)}")
