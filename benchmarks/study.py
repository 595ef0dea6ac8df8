"""Throughput of a study over the number of trainings at a time, and the CPU threads of each.

    python benchmarks/study.py --jobs 1 2 4 --cpus 1 2

Each line is a study of JOBS equal trainings of ResNet20 on the digits at 16x16, which start together; it has the median
of their images per second, and the sum. Run it on a machine that does nothing else.
"""

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from dasc.machine import cores

CONFIGS = Path(__file__).parents[1] / "configs"


def images_per_second(jobs: int, cpus: int, epochs: int, precision: str) -> list[float]:
    """Return the throughput of each of `jobs` trainings at a time, with `cpus` threads each."""
    study = {
        "name": "benchmark",
        "configs": [str(CONFIGS / "prune_decay.yaml")],
        "set": {
            "stages": [{"epochs": epochs, "magnitude": 14}],
            "data.image_size": 16,
            "trainer.precision": precision,
            "trainer.accelerator": "cpu",
        },
        "axes": {"seed": {"seed_everything": list(range(jobs))}},
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "study.yaml").write_text(yaml.safe_dump(study))
        command = [sys.executable, "-m", "dasc", "study", "run", "study.yaml", "--results", "out"]
        done = subprocess.run(
            [*command, "--jobs", str(jobs), "--cpus", str(cpus)],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"the study failed: {done.stdout}{done.stderr}")
        with Path(folder, "out", "times.csv").open() as file:
            return [float(row["images_per_second"]) for row in csv.DictReader(file)]


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, cores()], help="trainings at a time")
    parser.add_argument("--cpus", type=int, nargs="+", default=[1, 2], help="threads of each")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--precision", default="bf16-mixed")
    given = parser.parse_args()
    print("| trainings at a time | threads of each | images/s of each | images/s together |")
    print("| ---: | ---: | ---: | ---: |")
    for cpus in given.cpus:
        for jobs in sorted(set(given.jobs)):
            found = images_per_second(jobs, cpus, given.epochs, given.precision)
            print(f"| {jobs} | {cpus} | {statistics.median(found):,.0f} | {sum(found):,.0f} |", flush=True)
    print(f"\nResNet20, 16x16, {given.precision}; {platform.machine()}, {cores()} cores, torch {torch.__version__}.")


if __name__ == "__main__":
    main()
