"""Runs commands of `dasc` in copies of this process, which imports everything once.

Each line of stdin is a request; the answer is a line with the exit status, negative for a signal.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import sys
from importlib import import_module
from typing import Any

from lightning.pytorch.strategies.launchers import subprocess_script

from dasc.cli.registry import COMMANDS
from tests.support.ranks import TIMEOUT, Spare

USED_IN_A_RUN = ("PIL.JpegImagePlugin", "psutil", "rich._emoji_codes", "sklearn.datasets", "sklearn.model_selection",
                 "tensorboard.compat", "tensorboard.summary", "torch.utils.tensorboard")  # fmt: skip
"""What a training imports that its command does not."""


def next_request() -> dict[str, Any] | None:
    """Start a process for each request and wait for it; return the request in that process, and None at the end."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return request
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Take the environment, folder, arguments and streams of a request."""
    signal.alarm(TIMEOUT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by processes that a shell starts behind itself
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:1] = [request["folder"], *request["environment"]["PYTHONPATH"].split(os.pathsep)]
    sys.argv = ["dasc", *request["words"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(request["streams"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    if request["copied"]:
        spare = Spare()
        spare.wait()
        setattr(subprocess_script, "subprocess", spare)  # noqa: B010 - mypy knows a module


def run() -> int:
    """Run the command as `python -m dasc` does, and return its exit status."""
    try:
        runpy.run_module("dasc", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    return 0


@atexit.register  # the first to be registered runs last, after all threads
def leave() -> None:
    """End without freeing what was imported, which takes seconds in a copy."""
    if status is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


status: int | None = None
for entry in COMMANDS.values():
    entry.load()
for name in USED_IN_A_RUN:
    import_module(name)
gc.freeze()
if (given := next_request()) is not None:
    become(given)
    status = run()
