"""CPU time of commands until they train, beside that of the imports that they need.

    python benchmarks/start.py --repeats 5

Each command runs in a process of its own, in turn; the table has the median of user and system time, and the ratio to
the time of importing torch, Lightning, torchvision, torchmetrics, jsonargparse and scikit-learn. `fit` runs one batch
of the digits.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "prune_decay.yaml"
IMPORTS = (
    "import torch, lightning.pytorch, lightning.pytorch.cli, torchvision, torchmetrics, jsonargparse, "
    "sklearn.datasets, sklearn.model_selection"  # the digits and their split
)
IMPORTS_ROW = "imports"
COMMANDS: dict[str, list[str]] = {
    IMPORTS_ROW: ["-c", IMPORTS],
    "dasc": ["-m", "dasc"],
    "dasc --version": ["-m", "dasc", "--version"],
    "dasc --help": ["-m", "dasc", "--help"],
    "dasc fitt": ["-m", "dasc", "fitt"],
    "dasc plan": ["-m", "dasc", "plan", "--config", str(CONFIG)],
    "dasc fit, 1 batch": ["-m", "dasc", "fit", "--config", str(CONFIG), "--trainer.fast_dev_run", "1"],
    "dasc fit --help": ["-m", "dasc", "fit", "--help"],
    "dasc predict --help": ["-m", "dasc", "predict", "--help"],
}


def cpu_seconds(words: list[str], folder: str) -> float:
    """Return the user and system time of Python with these arguments, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 2):
        sys.exit(f"{' '.join(words)} failed: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), metavar="COMMAND")
    options = parser.parse_args()
    repeats = options.repeats
    seconds: dict[str, list[float]] = {name: [] for name in (IMPORTS_ROW, *options.commands)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for name, values in seconds.items():
                values.append(cpu_seconds(COMMANDS[name], folder))
    imports = statistics.median(seconds[IMPORTS_ROW])
    print("| command | CPU seconds | least | ratio to the imports |")
    print("| --- | ---: | ---: | ---: |")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {min(values):.2f} | {median / imports:.2f} |")
    print(f"\nMedian and least of {repeats} runs in turn, one thread; {IMPORTS}.")


if __name__ == "__main__":
    main()
