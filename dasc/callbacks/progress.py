"""Progress of a training: a bar on a terminal, and a line for every epoch elsewhere."""

import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from dasc.callbacks.remaining import RemainingTime, time_left
from dasc.callbacks.timing import Timing
from dasc.modules import Classifier, epoch_is_complete
from dasc.stages import Stages, in_order


def stage_progress(stages: Stages, timing: Timing) -> ProgressBar:
    """Return the bar if standard output is a terminal, and the lines if it is a file or a pipe.

    Args:
        stages: The table of stages.
        timing: The callback that measures images per second, which comes before this one.
    """
    return StageProgressBar(stages) if sys.stdout.isatty() else StageProgressLines(stages, timing)


class _Progress:
    """Stage, epoch, metrics and remaining time of a training, as text."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._remaining = RemainingTime()
        self._batches_before = 0
        """Batches of the current epoch that an earlier process has trained."""
        self._accuracy: float | None = None

    def start(self, trainer: Trainer) -> None:
        """Start a training, which may continue within an epoch."""
        self._batches_before = _batches(trainer) if trainer.fit_loop.restarted_mid_epoch else 0
        self._remaining.start()

    def validate(self, module: LightningModule) -> None:
        """Keep the accuracy of a validation that ends."""
        assert isinstance(module, Classifier)
        self._accuracy = module.validation().get("accuracy")

    def end_epoch(self, trainer: Trainer) -> None:
        """Measure an epoch that ends."""
        self._remaining.end_epoch((_batches(trainer) - self._batches_before) / trainer.num_training_batches)
        self._batches_before = 0

    def place(self, epoch: int) -> str:
        """Return the stage and the epoch."""
        stages = self._stages
        return f"stage {stages.stage_at(epoch) + 1}/{len(stages)}, epoch {epoch + 1}/{stages.total_epochs}"

    def columns(self, epoch: int) -> list[str]:
        """Return the values of the columns."""
        parts = (column.progress(self._stages.value(column.name, epoch)) for column in in_order())
        return [part for part in parts if part]

    def metrics(self, means: Mapping[str, float]) -> list[str]:
        """Return the loss, of the means over the training batches, and the accuracy of the last validation."""
        loss = [f"loss {means['loss']:.3f}"] if "loss" in means else []
        return loss + ([] if self._accuracy is None else [f"val accuracy {100 * self._accuracy:.1f} %"])

    def left(self, trainer: Trainer, batches: int) -> list[str]:
        """Return the time that the training still takes; nothing if it is unknown or the training is over.

        Args:
            trainer: The trainer.
            batches: Batches of the current epoch that are trained.
        """
        whole = trainer.num_training_batches
        epochs_left = self._stages.total_epochs - trainer.current_epoch - batches / whole
        seconds = self._remaining.seconds(epochs_left, max(batches - self._batches_before, 0) / whole)
        return [time_left(seconds)] if seconds is not None and epochs_left > 0 else []


class StageProgressLines(ProgressBar):
    """Prints a line at the end of every epoch.

    Args:
        stages: The table of stages.
        timing: The callback that measures images per second, which comes before this one.
    """

    def __init__(self, stages: Stages, timing: Timing) -> None:
        super().__init__()
        self._progress = _Progress(stages)
        self._timing = timing
        self._enabled = True

    def enable(self) -> None:
        """Print lines."""
        self._enabled = True

    def disable(self) -> None:
        """Print no lines, as processes other than the first."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure."""
        self._progress.start(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the accuracy."""
        if not trainer.sanity_checking:
            self._progress.validate(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line, unless the epoch is cut short."""
        assert isinstance(pl_module, Classifier)
        if not epoch_is_complete(trainer):
            return
        epoch, progress = trainer.current_epoch, self._progress
        progress.end_epoch(trainer)
        if self._enabled:  # no collective operation here: on other nodes there may be a bar
            parts = [*progress.metrics(pl_module.running_means()), *progress.columns(epoch), *self._speed()]
            parts += progress.left(trainer, _batches(trainer))
            print(f"{progress.place(epoch)}: {', '.join(parts)}", flush=True)

    def _speed(self) -> list[str]:
        speed = self._timing.images_per_second
        return [] if speed is None else [f"{speed:,.0f} images/s" if speed >= 10 else f"{speed:.2g} images/s"]


class _StageTqdm(Tqdm):
    """A bar with `{state}` in its format."""

    FORMAT = "{desc}{percentage:3.0f}%|{bar}| {state}{n_fmt}/{total_fmt}, {rate_noinv_fmt}{postfix}"
    """The most important parts first: narrow terminals cut the end."""

    state = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return the values of the format."""
        return {**super().format_dict, "state": self.state}


class StageProgressBar(TQDMProgressBar):
    """Lightning's bar with stage, epoch, remaining time, loss, validation accuracy and the columns of the stage.

    The loss is the mean over the epoch so far, on the first process. It is read only where the bar is updated: on a
    GPU, this waits for the training step.

    Args:
        stages: The table of stages.
        refresh_rate: Batches between two updates of the bar.
    """

    def __init__(self, stages: Stages, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._progress = _Progress(stages)

    def init_train_tqdm(self) -> Tqdm:
        """Make the bar of the training."""
        return _StageTqdm(
            desc=self.train_description,
            position=2 * self.process_position,
            disable=self.is_disabled,
            leave=True,
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,
            bar_format=_StageTqdm.FORMAT,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the bar, also of an epoch that is resumed within: its `on_train_epoch_start` is not called."""
        super().on_train_start(trainer, pl_module)
        self._progress.start(trainer)
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the state of an epoch that starts."""
        super().on_train_epoch_start(trainer, pl_module)
        self._show(trainer, {}, _batches(trainer) if trainer.fit_loop.restarted_mid_epoch else 0)
        self.train_progress_bar.set_description(self._progress.place(trainer.current_epoch))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar every `refresh_rate` batches."""
        assert isinstance(pl_module, Classifier)
        if self.is_enabled and ((batch_idx + 1) % self.refresh_rate == 0 or trainer.is_last_batch):
            self._show(trainer, pl_module.running_means(), batch_idx + 1)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the accuracy."""
        if not trainer.sanity_checking:
            self._progress.validate(pl_module)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the means of the whole epoch."""
        assert isinstance(pl_module, Classifier)
        if epoch_is_complete(trainer):
            self._progress.end_epoch(trainer)
            self._show(trainer, pl_module.running_means(), _batches(trainer))
        super().on_train_epoch_end(trainer, pl_module)

    def _show(self, trainer: Trainer, means: Mapping[str, float], batches: int) -> None:
        if self.is_disabled:
            return
        progress = self._progress
        left, metrics = progress.left(trainer, batches), progress.metrics(means)
        parts = [*left, *metrics, *progress.columns(trainer.current_epoch)]
        assert isinstance(self.train_progress_bar, _StageTqdm)
        self.train_progress_bar.state = "".join(f"{part}, " for part in parts)


def _batches(trainer: Trainer) -> int:
    """Return the batches of the current epoch that are trained."""
    return trainer.fit_loop.epoch_loop.batch_idx + 1
