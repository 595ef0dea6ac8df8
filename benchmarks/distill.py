"""What the choice of each image's augmentation costs: the time of a training step, n views against one.

    python benchmarks/distill.py

Steps of `DistilledClassifier` on a batch that is there already, in turn with n = 1 (`selection: none`) and n views;
float32. By count of forward passes F (a student's training step is 3 F): n = 4 with a teacher of the student's size
takes (4 + 4 + 3) / (1 + 3) = 2.75 times as long, since the loss reuses the teacher's logits of the chosen view.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from dasc.data import Batch, ImageData
from dasc.modules import DistilledClassifier, Selection, TeacherConfig
from dasc.networks import CifarResNet
from dasc.stages import Stages


def student(depth: int, teacher_depth: int, views: int, folder: Path, device: str = "cpu") -> DistilledClassifier:
    """Return a student of an untrained teacher."""
    path = folder / f"{teacher_depth}.pt"
    torch.save(CifarResNet(10, depth=teacher_depth).state_dict(), path)
    module = DistilledClassifier(
        CifarResNet(10, depth=depth),
        Stages.parse([{"epochs": 1, "magnitude": "random"}]),
        TeacherConfig(path=str(path), network="CifarResNet", network_args={"depth": teacher_depth}),
        selection="none" if views == 1 else Selection(views=views),
    )
    module.prepare(ImageData())
    module.teacher.to(torch.device(device))
    return module.to(device)


def seconds(module: DistilledClassifier, views: int, batch_size: int, device: str = "cpu") -> float:
    """Return how long one training step takes."""
    shape = (batch_size, 3, 32, 32) if views == 1 else (views, batch_size, 3, 32, 32)
    bins = None if views == 1 else torch.randint(31, (views, batch_size))
    images, targets = torch.randn(shape, device=device), torch.randint(10, (batch_size,), device=device)
    bins = bins if bins is None else bins.to(device)
    batch = Batch(images, targets, torch.arange(batch_size, device=device), 0, magnitudes=bins)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    _wait(device)
    start = time.perf_counter()
    optimizer.zero_grad()
    module.loss(batch)["loss"].backward()
    optimizer.step()
    _wait(device)
    return time.perf_counter() - start


def compare(
    depth: int, teacher_depth: int, views: int, batch: int, repeats: int, folder: Path, device: str = "cpu"
) -> tuple[list[float], float, float]:
    """Time steps with n views and with one, in turn.

    Returns:
        The ratios, and the median seconds of a step with n views and with one.
    """
    one, many = (student(depth, teacher_depth, count, folder, device) for count in (1, views))
    pairs = [(seconds(many, views, batch, device), seconds(one, 1, batch, device)) for _ in range(repeats + 1)][1:]
    chosen, plain = map(statistics.median, zip(*pairs, strict=True))
    return [a / b for a, b in pairs], chosen, plain


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print the ratio for a teacher of the student's size, and for ResNet110 and ResNet20."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for depth, teacher_depth in ((20, 20), (20, 110)):
            ratios, _, plain = compare(
                depth, teacher_depth, options.views, options.batch, options.repeats, Path(folder)
            )
            print(
                f"ResNet{teacher_depth} -> ResNet{depth}, {options.views} views against one: "
                f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}) of "
                f"{plain:.3f} s, batch {options.batch}, "
                f"{options.threads} threads, float32, torch {torch.__version__}"
            )


if __name__ == "__main__":
    main()
