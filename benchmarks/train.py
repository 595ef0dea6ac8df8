"""How much of the bare training step is left in `dasc fit`: images per second of both, ResNet20 at 32x32.

    python benchmarks/train.py

The bare step trains on one batch that is there already: forward, backward and optimizer, nothing else. `dasc fit` has
everything on: data, crop, flip, RandAugment, masks, schedule, logging. Both are measured in turn, in one process.
"""

import argparse
import csv
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from dasc.cli import main as command
from dasc.networks import CifarResNet

CONFIG = Path(__file__).parents[1] / "configs" / "prune_decay.yaml"


def make_images(root: Path, count: int) -> None:
    """Write `count` images of noise in 10 classes, as a folder that dasc reads."""
    generator = np.random.default_rng(0)
    for number in range(count):
        folder = root / "train" / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")


def bare(batch: int, steps: int, precision: str, device: str = "cpu") -> float:
    """Return images per second of the training step on one batch."""
    torch.manual_seed(0)
    network = CifarResNet(10, depth=20).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images, targets = torch.randn(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)
    scaler = torch.amp.GradScaler(device, enabled=precision == "16-mixed")
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    start = 0.0
    for step in range(-5, steps):
        if step == 0:
            _wait(device)
            start = time.perf_counter()
        with torch.autocast(device, dtype, enabled=precision.endswith("mixed")):
            loss = F.cross_entropy(network(images).float(), targets)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    _wait(device)
    return batch * steps / (time.perf_counter() - start)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def fit(root: Path, batch: int, precision: str, device: str = "cpu") -> float:
    """Return images per second of the training batches of the second epoch, from the run's timing.csv."""
    with tempfile.TemporaryDirectory() as runs:
        sys.argv = ["dasc"]
        command(
            [
                *("fit", f"--config={CONFIG}", "--stages=[{epochs: 2, sparsity: 0.5, magnitude: 14}]"),
                *("--data.dataset=folder", f"--data.root={root}", f"--data.batch_size={batch}"),
                *(
                    f"--trainer.default_root_dir={runs}",
                    f"--trainer.accelerator={device}",
                    "--trainer.devices=1",
                    f"--trainer.precision={precision}",
                ),
            ]
        )
        with (Path(runs) / "lightning_logs" / "version_0" / "timing.csv").open() as file:
            return float(list(csv.DictReader(file))[-1]["images_per_second"])


def main() -> None:
    """Print both and their ratio, repeat by repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), 3000)
        for _ in range(options.repeats):
            step = bare(options.batch, 20, options.precision)
            pairs.append((fit(Path(folder), options.batch, options.precision), step))
    for ours, step in pairs:
        print(f"dasc fit {ours:7.1f} images/s, bare step {step:7.1f} images/s, ratio {ours / step:.3f}")
    ratios = [ours / step for ours, step in pairs]
    print(
        f"median ratio {statistics.median(ratios):.3f} of {len(ratios)} ({min(ratios):.3f} to {max(ratios):.3f}), "
        f"batch {options.batch}, {options.threads} threads, {options.precision}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
