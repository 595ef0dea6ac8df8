"""Messages and exit statuses of a training that ended before its table did."""

import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dasc.errors import StoppedError
from dasc.stages import Stages


@contextmanager
def exit_status_of_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C, as Python raises them or Lightning's `fit` passes them on, into statuses of a shell.

    Further Ctrl-C are ignored: the process is ending.

    Raises:
        StoppedError: A signal stopped the training.
    """
    try:
        yield
    except StoppedError:
        raise
    except SIGTERMException:
        raise StoppedError("SIGTERM") from None
    except KeyboardInterrupt:
        _ignore_interrupts()
        raise StoppedError("Ctrl-C") from None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            _ignore_interrupts()
            raise StoppedError("Ctrl-C") from None
        raise


def _ignore_interrupts() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_reason(trainer: Trainer) -> str:
    """Return what made a trainer stop without a signal."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer):
            remaining = callback.time_remaining()
            if remaining is not None and remaining <= 0:
                return "trainer.max_time"
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            return f"EarlyStopping on {callback.monitor}"
    return "a callback (trainer.should_stop)"


def describe_early_stop(signal: str) -> str:
    """Return the message about a command that a signal stopped before it trained anything."""
    return f"Stopped by {signal} before the training started: run the same command again"


def describe_stop(
    reason: str,
    stages: Stages,
    epochs_done: int,
    words: Sequence[str],
    saved: bool = True,
    has_last: bool | None = None,
) -> str:
    """Return how far a training is, and how to resume it.

    Args:
        reason: What stopped it.
        stages: The table of stages.
        epochs_done: Completed epochs.
        words: The arguments of the command.
        saved: Whether checkpoints are written.
        has_last: Whether the run folder has a checkpoint that `--ckpt_path last` finds; None: if an epoch is complete.
    """
    has_last = epochs_done > 0 if has_last is None else has_last
    done = f"Stopped by {reason} after {epochs_done} of {stages.total_epochs} epochs"
    if epochs_done >= stages.total_epochs:
        return f"{done}: the run is complete"
    stage = stages.stage_at(epochs_done)
    inside = epochs_done - stages.starts[stage]
    rest = [f"stage {stage + 1} has {inside} of {stages[stage].epochs} epochs"] if inside else []
    first = stage + (1 if inside else 0)
    if first < len(stages):
        names = f"stage {first + 1} is" if first + 1 == len(stages) else f"stages {first + 1} to {len(stages)} are"
        rest.append(f"{names} not trained")
    return f"{done}: {', '.join(rest)}. {_how_to_resume(words, saved, has_last)}"


def _how_to_resume(words: Sequence[str], saved: bool, has_last: bool) -> str:
    if not saved:
        return "It cannot be resumed: trainer.enable_checkpointing is false"
    if has_last:
        return f"To resume: {shlex.join(['dasc', *_without_checkpoint(words), '--ckpt_path', 'last'])}"
    if len(_without_checkpoint(words)) < len(words):  # the checkpoint of another folder
        return f"To resume: {shlex.join(['dasc', *words])}"
    return "No epoch is complete: start it again"


def _without_checkpoint(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and not word.startswith("--ckpt_path"):
            kept.append(word)
        skip = word == "--ckpt_path" and not skip
    return kept
