"""The second process of a training, as a copy of one that has imported everything."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

TIMEOUT = 600
"""Seconds after which a command is killed."""


class Spare:
    """A copy of this process that waits until a training needs its second process: a stand-in for `subprocess`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._pid: int | None = None

    def wait(self) -> None:
        """Start the copy. It returns from here, too, when it is to become the second process."""
        pid = os.fork()
        if pid:
            os.close(self._read)
            self._pid = pid
            return
        os.close(self._write)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first process ends this one
        with os.fdopen(self._read) as requests:
            line = requests.readline()
        if not line:  # the first process has ended without a second
            os._exit(0)
        request = json.loads(line)
        signal.alarm(TIMEOUT)
        signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignores"] else signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        sys.argv = ["dasc", *request["words"]]

    def Popen(self, command: Sequence[str], env: Mapping[str, str], cwd: str | None = None) -> Any:
        """Let the copy run a command of dasc; with none left, start the command as it would be without a copy."""
        if self._pid is None:
            return subprocess.Popen(command, env=env, cwd=cwd)
        assert command[:3] == [sys.executable, "-m", "dasc.__main__"], command
        request = {
            "words": command[3:],
            "environment": dict(env),
            "folder": cwd or os.getcwd(),
            "ignores": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        }
        os.write(self._write, json.dumps(request).encode() + b"\n")
        process, self._pid = Copy(self._pid), None
        return process


class Copy:
    """What Lightning uses of a `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """Return the exit status if the process has ended, negative for a signal."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)
