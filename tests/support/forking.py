"""Runs commands of `dasc` in copies of this process, which imports everything once.

Each line of stdin is a request; the answer is a line with the exit status, negative for a signal.
"""

import json
import os
import runpy
import signal
import sys
from typing import Any

from dasc.cli.registry import COMMANDS

TIMEOUT = 600
"""Seconds after which a command is killed."""


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


for entry in COMMANDS.values():
    entry.load()
if (given := next_request()) is not None:
    become(given)
    runpy.run_module("dasc", run_name="__main__", alter_sys=True)
