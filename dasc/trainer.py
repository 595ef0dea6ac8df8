"""Lightning's Trainer with a run folder that does not depend on the loggers."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dasc import loggers, runs
from dasc.callbacks.checkpoints import set_checkpoint_folder


class RunTrainer(Trainer):
    """Lightning's Trainer: devices, precision, loggers and more.

    Its `log_dir` is the run folder during `in_run_folder`. The first line is shown by `--help`.
    """

    run_folder: Path | None = None
    """The run folder; in processes other than the first, known after the first access to `log_dir`."""

    _is_agreed = False

    def __init__(
        self,
        *args: Any,
        # int first, or 1 is parsed as 1.0, which is all batches. The annotations of Lightning may have either order:
        # typing caches unions without regard to it.
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            **kwargs,
        )
        launcher: Any = self.strategy.launcher
        if hasattr(launcher, "_call_children_scripts"):
            launcher._call_children_scripts = _without_interrupts(launcher._call_children_scripts)

    @contextmanager
    def in_run_folder(self, root: Path, folder: Path | None, resumed: runs.Progress | None) -> Iterator[None]:
        """Train in a run folder; call it on all processes, and only the first one makes folders.

        A folder made here is removed again if the training fails before it writes into it. A fast_dev_run has none.

        Args:
            root: A new run gets lightning_logs/version_N in it.
            folder: The run folder of the run that is resumed; None for a new run.
            resumed: The progress of that run's checkpoint.
        """
        if getattr(self, "fast_dev_run", False) or not self.is_global_zero:
            yield
            return
        made = runs.reserve(root, loggers.parents(self.loggers)) if folder is None else []
        self.run_folder = made[0] if folder is None else folder
        try:
            loggers.name_after(self.loggers, self.run_folder)
            loggers.start(self.loggers, resumed)
            yield
        except BaseException:
            runs.release(made)
            raise

    def agree_on_sigterm(self) -> None:
        """Let all processes stop before the same step, once one of them has received SIGTERM.

        Lightning's signal handler broadcasts at once, within whatever else the processes exchange at that moment, and
        they crash. The private names that are replaced here are listed in `dasc.private_names`.
        """
        if self.world_size == 1:
            return
        received: list[int] = []

        def remember(signum: int, frame: Any) -> None:
            received.append(signum)

        def stop_together() -> None:
            if self.strategy.reduce_boolean_decision(bool(received), all=False):
                raise SIGTERMException

        setattr(self._signal_connector, "_sigterm_notifier_fn", remember)  # noqa: B010 - mypy knows a method
        setattr(self.fit_loop.epoch_loop, "_broadcast_sigterm_tensor", stop_together)  # noqa: B010

    def kill_children(self) -> None:
        """Kill the processes that this one has started for further devices, when Ctrl-C stops it."""
        launcher: Any = self.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGKILL)
            launcher.procs.clear()  # Lightning's observer would kill this process too, before its message

    @property
    def log_dir(self) -> str | None:
        """The run folder; without one, Lightning's folder. All processes must make the first access."""
        if not self._is_agreed:
            self._agree()
        return super().log_dir if self.run_folder is None else str(self.run_folder)

    def _agree(self) -> None:
        """Send the run folder to all processes. Lightning gets log_dir before it makes loggers and runs setup hooks."""
        self.run_folder = self.strategy.broadcast(self.run_folder)
        self._is_agreed = True
        if self.run_folder is not None:
            loggers.name_after(self.loggers, self.run_folder)
            set_checkpoint_folder(self.checkpoint_callbacks, self.run_folder / runs.CHECKPOINTS)


def _without_interrupts(start: Callable[[], None]) -> Callable[[], None]:
    """Return a function that starts processes which ignore Ctrl-C: a terminal sends it to all processes.

    The first process stops the others. If they ended first, it would wait for them, where no signal is handled.
    """

    def start_ignoring() -> None:
        if threading.current_thread() is not threading.main_thread():
            start()
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            start()
        finally:
            signal.signal(signal.SIGINT, before)

    return start_ignoring
