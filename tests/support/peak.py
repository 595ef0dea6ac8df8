"""Peak memory of a call."""

import ctypes
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def peak_bytes(call: Callable[[], object]) -> int:
    """Call twice in a copy of this process; return by how many bytes its resident memory rose the second time (Linux).

    The first call reads code of libraries, which is resident memory of a new process too.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            call()
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
            before = _peak()
            call()
            os.write(writer, str(_peak() - before).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    assert text, "the call failed"
    return int(text)


def _peak() -> int:
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def peak_bytes_alone(code: str) -> int:
    """Run code twice in a new process; return by how many bytes its resident memory rose the second time (Linux).

    What is allocated beside large blocks that earlier tests have freed would count, too.
    """
    script = f"from tests.support.peak import peak_bytes\n\ndef call():\n    {code}\n\nprint(peak_bytes(call))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)
