"""The command in a process of its own, as a user runs it."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def dasc(*args: object, threads: int = 1, copied: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `dasc` with the callbacks of this folder importable; the exit status is the caller's to check.

    The process is a copy of one that has imported everything, which takes most of the time of a short command.

    Args:
        *args: The words after `dasc`.
        threads: Threads of OpenMP.
        copied: Whether the second process of a training is such a copy, too; without it, the training starts all
            further processes as it does for a user.
    """
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": str(threads)}
    words = [*map(str, args)]
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        request = {
            "words": words,
            "environment": environment,
            "folder": os.getcwd(),
            "streams": [*map(str, streams)],
            "copied": copied,
        }
        server = _server(threads)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(words, status, *(path.read_text() for path in streams))


@cache
def _server(threads: int) -> subprocess.Popen[str]:
    """Start the process that is copied; OpenMP reads the number of threads when it is loaded."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tests.support.forking"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, env=environment, cwd=HERE.parents[1], **pipes)
    atexit.register(server.kill)
    return server
