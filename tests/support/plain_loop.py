"""A training loop without Lightning: `python -m tests.support.plain_loop OUT` saves the batches that it makes."""

import sys
from pathlib import Path
from typing import Any

import torch

from dasc.data import (
    DATASETS,
    AugmentationState,
    Batch,
    BatchPipeline,
    ImageSet,
    PipelineConfig,
    ResidentLoader,
    TrainingEpoch,
    TrainingOrder,
)
from dasc.data.augmentation import parse_magnitude
from dasc.data.source import Source

SEED, EPOCHS, STEPS, BATCH_SIZE, WORLD_SIZE = 5, 3, 2, 96, 2

CASES: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "a line, mixup": ([14, 4], 1, {"cutout": 3, "mix": "mixup", "mix_alpha": 0.4, "flip": True}),
    "random, cutmix": ("random", 1, {"cutout": 2, "mix": "cutmix", "translate": 2}),
    "three views": ("random", 3, {"cutout": 3, "flip": True}),
    "two views at a line": ([3, 30], 2, {}),
    "crop only": ("none", 1, {}),
}
"""Magnitude, views and settings by name."""


def batches(name: str, rank: int, world_size: int) -> list[list[Batch]]:
    """Return the first training batches of each epoch in one process."""
    magnitude, views, settings = CASES[name]
    info = DATASETS["digits"]
    images = Source("digits", info, "data", False, None, 0).read()["train"]
    assert isinstance(images, ImageSet)
    count = len(images.targets)
    config = PipelineConfig(info.image_size, info.mean, info.std, len(info.class_names), pad=True, **settings)
    pipeline = BatchPipeline(config, {"train": count})
    state = AugmentationState(parse_magnitude(magnitude), views)
    order = TrainingOrder(count, BATCH_SIZE, SEED, rank, world_size)
    made: list[list[Batch]] = []
    for number in range(EPOCHS):
        order.set_epoch(number)
        epoch = TrainingEpoch(SEED, number, BATCH_SIZE, rank, world_size, EPOCHS)
        loader = ResidentLoader(images, order)
        made.append([pipeline.train(batch, state, epoch) for batch, _ in zip(loader, range(STEPS), strict=False)])
    return made


if __name__ == "__main__":
    shares = [(0, 1), *((rank, WORLD_SIZE) for rank in range(WORLD_SIZE))]
    saved = {
        (name, rank, size): [[batch._asdict() for batch in epoch] for epoch in batches(name, rank, size)]
        for name in CASES
        for rank, size in shares
    }
    imported = [name for name in sys.modules if "lightning" in name]
    torch.save({"batches": saved, "imported": imported}, Path(sys.argv[1]))
