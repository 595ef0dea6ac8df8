"""Peak memory of a call."""

import ctypes
import gc
import os
import re
from collections.abc import Callable
from pathlib import Path

_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of mallopt(3): from this size on, memory is given back at once."""


def peak_bytes(call: Callable[[], object]) -> int:
    """Call twice in a copy of this process; return by how many bytes its resident memory rose the second time (Linux).

    The first call reads code of libraries, which is resident memory of a new process too.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**17)  # else it depends on the tests before, and so do gaps
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
