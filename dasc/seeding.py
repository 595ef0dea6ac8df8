"""Random seeds as pure functions of their place in a run: a resumed run draws what an uninterrupted one draws."""

import hashlib
import os
from enum import StrEnum

import torch


class Stream(StrEnum):
    """The independent random streams of a run. A new use of randomness gets a stream of its own here."""

    ORDER = "order"
    """Order of the training images: seed, epoch."""
    AUGMENTATION = "augmentation"
    """Crop, flip, RandAugment and Cutout of training images: seed, epoch, rank, view."""
    CROP = "crop"
    """Random resized crop of a streamed image: seed, epoch, place in the split."""
    MIX = "mix"
    """MixUp and CutMix: seed, epoch, rank, batch."""
    NETWORK = "network"
    """What the network draws in training, such as dropout: seed, epoch, rank, batch."""
    RECALIBRATION = "recalibration"
    """What the network draws while BatchNorm statistics are re-estimated: seed, epoch, rank."""
    EVALUATION = "evaluation"
    """Fixed augmentation of validation and test images: view."""
    PRUNING = "pruning"
    """Pruning criteria that draw: seed, stage."""


def mix(stream: Stream, *numbers: int) -> int:
    """Return a seed in [0, 2**63) that depends on the stream, on every number and on their order."""
    digest = hashlib.blake2b(repr((stream.value, *numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def run_seed() -> int:
    """Return the seed that `lightning.seed_everything` set, the same on every rank; 0 if it was not called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what a network on a device draws from.

    `torch.manual_seed` seeds the generators of all devices and takes 100 times as long, too much for every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
