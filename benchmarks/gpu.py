"""One Markdown table of what a GPU makes of dasc, each number beside a peer or a bound of the same run.

    python benchmarks/gpu.py --output gpu.md

Augmentation against torchvision image by image, `dasc fit` against the bare training step, and the step of a student
whose teacher chooses among views against the step without. `--device cpu --quick` runs the same on little work, to
check the script.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import augment
import distill
import torch
import train

MISSING = "bench-gpu needs a CUDA GPU: torch.cuda.is_available() is False on this machine."


class Row(NamedTuple):
    """A measurement."""

    what: str
    dasc: str
    other: str
    """The peer or bound, with its number."""
    ratio: str


def augmentation(device: str, quick: bool) -> Iterator[Row]:
    """Compare images per second of RandAugment with torchvision's, both on the device."""
    batch, rounds = (16, 1) if quick else (512, 9)
    for size in (32, 224):
        images = augment.pictures(batch if size == 32 else batch // 4, size).to(device)
        runs = {"dasc": augment.dasc(images), "torchvision": augment.torchvision_tensor(images)}
        speed = augment.measure(runs, len(images), rounds, device)
        yield Row(
            f"RandAugment, {size}x{size}, batch {len(images)}, images/s",
            f"{speed['dasc']:,.0f}",
            f"torchvision v2, tensors one by one: {speed['torchvision']:,.0f}",
            f"{speed['dasc'] / speed['torchvision']:.2f}",
        )


def training(device: str, quick: bool) -> Iterator[Row]:
    """Compare images per second of `dasc fit` with the bare training step, ResNet20 at 32x32."""
    images, steps, repeats = (100, 1, 1) if quick else (20_000, 100, 3)
    batch = 16 if quick else 128
    with tempfile.TemporaryDirectory() as folder:
        train.make_images(Path(folder), images)
        for precision in ("32-true",) if quick else ("32-true", "bf16-mixed", "16-mixed"):
            pairs = []
            for _ in range(repeats):
                bound = train.bare(batch, steps, precision, device)
                pairs.append((train.fit(Path(folder), batch, precision, device), bound))
            ours, bound = map(statistics.median, zip(*pairs, strict=True))
            yield Row(
                f"dasc fit, ResNet20, {precision}, batch {batch}, images/s",
                f"{ours:,.0f}",
                f"bound: bare step on one batch, {bound:,.0f}",
                f"{statistics.median(a / b for a, b in pairs):.2f}",
            )


def distillation(device: str, quick: bool) -> Iterator[Row]:
    """Compare the step of a student that is given n views with the step without a choice."""
    batch, views, repeats = (8, 2, 1) if quick else (128, 4, 15)
    with tempfile.TemporaryDirectory() as folder:
        for depth, teacher_depth in ((20, 20),) if quick else ((20, 20), (20, 110)):
            ratios, many, one = distill.compare(depth, teacher_depth, views, batch, repeats, Path(folder), device)
            yield Row(
                f"step, ResNet{teacher_depth} -> ResNet{depth}, {views} views, batch {batch}, ms",
                f"{1000 * many:.1f}",
                f"the same with one view: {1000 * one:.1f}",
                f"{statistics.median(ratios):.2f}",
            )


def main() -> None:
    """Print the table, and write it to a file if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="little work, to check the script")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(MISSING)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    versions = ", ".join(f"{package} {version(package)}" for package in ("dasc", "torch", "lightning", "torchvision"))
    lines = [f"Device: {name}; {versions}.", "", "| measurement | dasc | peer or bound | dasc / other |"]
    lines.append("| --- | ---: | --- | ---: |")
    for measure in (augmentation, training, distillation):
        lines += [f"| {' | '.join(row)} |" for row in measure(options.device, options.quick)]
    table = "\n".join(lines) + "\n"
    print(f"\n{table}", end="")
    if options.output is not None:
        options.output.write_text(table)


if __name__ == "__main__":
    main()
