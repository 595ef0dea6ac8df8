"""Put on PYTHONPATH of the commands that the tests start: a callback that ends the process as a crash would."""

import os
import signal
import threading
import time
from typing import IO, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class KillAt(Callback):
    """Kills all processes of the run just before optimizer step `step` (from 0)."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class KillWhileSaving(Callback):
    """Kills the run in the middle of writing the checkpoint of epoch `epoch` (from 0): 1000 bytes of it are there."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.current_epoch == self.epoch:
            setattr(torch, "save", _write_a_little)  # noqa: B010 - mypy knows the real one


def _write_a_little(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
    file.write(bytes(1000))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


class SignalAt(Callback):
    """Sends a signal to the process just before optimizer step `step` (from 0)."""

    def __init__(self, step: int, name: str) -> None:
        self.step = step
        self.number = signal.Signals[name]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and trainer.is_global_zero:
            os.kill(os.getpid(), self.number)


class StopAt(Callback):
    """Asks the trainer to stop just before optimizer step `step` (from 0)."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True


class InterruptIn(Callback):
    """Sends Ctrl-C as a terminal does, to all processes of the run, and a few times: an impatient user.

    Args:
        hook: The hook that waits for it; `__init__` for this constructor.
        epoch: The epoch (from 0); -1 for any.
    """

    def __init__(self, hook: str, epoch: int = -1) -> None:
        self.epoch = epoch
        if os.environ.get("LOCAL_RANK", "0") != "0":
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "the first process stops the others"
        if hook == "__init__":
            self.interrupt()
        else:
            setattr(self, hook, self.interrupt)

    def interrupt(self, trainer: Any = None, *args: Any, **kwargs: Any) -> None:
        if trainer is not None and (self.epoch not in (-1, trainer.current_epoch) or not trainer.is_global_zero):
            return
        launcher: Any = None if trainer is None else trainer.strategy.launcher
        for process in launcher.procs if launcher else []:
            os.kill(process.pid, signal.SIGINT)
        threading.Thread(target=_interrupt_often, args=(os.getpid(),), daemon=True).start()
        time.sleep(60)


def _interrupt_often(pid: int) -> None:
    for _ in range(5):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.05)
