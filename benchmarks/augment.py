"""Images per second of RandAugment (two operations, M = 14) on one thread: dasc, torchvision, timm and kornia.

    pip install timm kornia
    python benchmarks/augment.py

Peers that are not installed are left out. They do not all do the same work: kornia draws one pair of operations for a
whole batch, timm has other operations and a scale of its own (m5 of 10 is about 14 of 30).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import to_pil_image

from dasc.augment import RandAugment, draw

Run = Callable[[], object]


def dasc(images: Tensor) -> Run:
    """Augment uint8 (B, 3, H, W) at once, drawing included."""
    augment, generator = RandAugment(*images.shape[-2:], images.device), torch.Generator().manual_seed(0)
    return lambda: augment(images, draw(len(images), generator), 14)


def torchvision_tensor(images: Tensor) -> Run:
    """Augment one uint8 tensor after the other."""
    augment = v2.RandAugment(2, 14)
    return lambda: [augment(image) for image in images]


def torchvision_pil(images: Tensor) -> Run:
    """Augment one PIL image after the other."""
    augment, pictures = v2.RandAugment(2, 14), _pictures(images)
    return lambda: [augment(picture) for picture in pictures]


def timm_pil(images: Tensor) -> Run:
    """Augment one PIL image after the other."""
    from timm.data.auto_augment import rand_augment_transform

    augment, pictures = rand_augment_transform("rand-m5-n2", {}), _pictures(images)
    return lambda: [augment(picture) for picture in pictures]


def kornia_tensor(images: Tensor) -> Run:
    """Augment a float batch with one pair of operations for all its images."""
    from kornia.augmentation.auto import RandAugment as Augment

    augment, floats = Augment(n=2, m=14), images.float() / 255
    return lambda: augment(floats)


def _pictures(images: Tensor) -> list[Image.Image]:
    return [to_pil_image(image) for image in images]


PEERS = {
    "dasc": dasc,
    "torchvision v2, tensor": torchvision_tensor,
    "torchvision v2, PIL": torchvision_pil,
    "timm, PIL": timm_pil,
    "kornia, tensor (one pair a batch)": kornia_tensor,
}


def pictures(count: int, size: int) -> Tensor:
    """Return uint8 noise (count, 3, size, size) that is dark rather than bright."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 3, size, size, generator=generator) ** 2 * 256).to(torch.uint8)


def measure(runs: dict[str, Run], images: int, rounds: int, device: str = "cpu") -> dict[str, float]:
    """Return the median images per second of each, measured in turn, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    if device == "cuda":
        torch.cuda.synchronize()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: images / statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Print a table in Markdown for 32x32 and 224x224."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in (32, 224):
        images = pictures(options.batch, size)
        runs = {}
        for name, prepare in PEERS.items():
            try:
                runs[name] = prepare(images)
            except ImportError:
                print(f"({name} is not installed)")
        speed = measure(runs, options.batch, options.rounds)
        print(f"\n| {size}x{size}, batch {options.batch}, one thread | images/s | dasc over it |\n|---|---:|---:|")
        for name, rate in speed.items():
            print(f"| {name} | {rate:,.0f} | {speed['dasc'] / rate:.2f} |")
    print("\n" + ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))))


_PACKAGES = ("torch", "torchvision", "pillow", "timm", "kornia")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
