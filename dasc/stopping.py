"""Messages and exit statuses of a training that ended before its table did."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dasc.errors import StoppedError
from dasc.stages import Stages


@contextmanager
def exit_status_of_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C, as Lightning's `fit` passes them on, into the exit statuses of a shell.

    Raises:
        StoppedError: A signal stopped the training.
    """
    try:
        yield
    except SIGTERMException:
        raise StoppedError("SIGTERM") from None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise StoppedError("Ctrl-C") from None
        raise


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


def describe_stop(reason: str, stages: Stages, epochs_done: int, words: Sequence[str], saved: bool = True) -> str:
    """Return how far a training is, and how to resume it.

    Args:
        reason: What stopped it.
        stages: The table of stages.
        epochs_done: Completed epochs.
        words: The arguments of the command.
        saved: Whether checkpoints are written.
    """
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
    return f"{done}: {', '.join(rest)}. {_how_to_resume(epochs_done, words, saved)}"


def _how_to_resume(epochs_done: int, words: Sequence[str], saved: bool) -> str:
    if not saved:
        return "It cannot be resumed: trainer.enable_checkpointing is false"
    if epochs_done == 0:
        return "No epoch is complete: start it again"
    return f"To resume: {shlex.join(['dasc', *_without_checkpoint(words), '--ckpt_path', 'last'])}"


def _without_checkpoint(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and not word.startswith("--ckpt_path"):
            kept.append(word)
        skip = word == "--ckpt_path" and not skip
    return kept
