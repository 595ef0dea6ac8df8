"""The table of the README: the main job beside the same job with constant and with no augmentation, over seeds.

    python benchmarks/demo.py --seeds 5

Runs `dasc fit --config configs/prune_decay.yaml` once for each table and seed into a temporary folder.
"""

import argparse
import csv
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torchvision

CONFIG = Path(__file__).parents[1] / "configs" / "prune_decay.yaml"
LENGTHS = (12, 6, 6, 6)
SPARSITIES = (0.0, 0.2, 0.4, 0.6)
TABLES: dict[str, tuple[object, ...]] = {
    "decayed 14, 12, 8, 4": (14, 12, 8, 4),
    "constant 14": (14, 14, 14, 14),
    "constant 4": (4, 4, 4, 4),
    "no RandAugment": ("none", "none", "none", "none"),
}


def accuracies(magnitudes: tuple[object, ...], seed: int) -> list[float]:
    """Return the validation accuracy after the last epoch of each stage, in percent."""
    rows = [
        f"{{epochs: {epochs}, sparsity: {sparsity}, magnitude: {magnitude}}}"
        for epochs, sparsity, magnitude in zip(LENGTHS, SPARSITIES, magnitudes, strict=True)
    ]
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "dasc", "fit", "--config", str(CONFIG), f"--stages=[{', '.join(rows)}]"]
        command += [f"--seed_everything={seed}", f"--trainer.default_root_dir={root}", "--trainer.accelerator=cpu"]
        subprocess.run([*command, "--trainer.enable_progress_bar=false"], check=True, capture_output=True)
        with (Path(root) / "lightning_logs" / "version_0" / "stages.csv").open() as file:
            return [100 * float(row["val_accuracy_last"]) for row in csv.DictReader(file)]


def main() -> None:
    """Print the table in Markdown, with what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print("| magnitude | " + " | ".join(f"{sparsity:.0%} sparse" for sparsity in SPARSITIES) + " |")
    print("| --- |" + " ---: |" * len(SPARSITIES))
    for name, magnitudes in TABLES.items():
        by_stage = zip(*(accuracies(magnitudes, seed) for seed in seeds), strict=True)
        cells = [f"{statistics.mean(stage):.1f} ± {statistics.stdev(stage):.1f}" for stage in by_stage]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(
        f"\nValidation accuracy in percent after the last epoch of each stage, mean and standard deviation of "
        f"{len(seeds)} seeds; {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}."
    )


if __name__ == "__main__":
    main()
