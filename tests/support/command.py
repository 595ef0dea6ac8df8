"""The command in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path


def dasc(*args: object, threads: int = 1) -> subprocess.CompletedProcess[str]:
    """Run `dasc` with the callbacks of this folder importable; the exit status is the caller's to check."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "dasc", *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
