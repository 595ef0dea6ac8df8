"""Augmentation of uint8 batches on their device: each image has its own crop, flip, operations, signs and strength."""

from dasc.augment.draws import Draws, concatenate, draw, magnitudes
from dasc.augment.geometry import crop_and_flip, cutout
from dasc.augment.operations import OPERATIONS, Operation
from dasc.augment.randaugment import RandAugment

__all__ = (
    "OPERATIONS",
    "Draws",
    "Operation",
    "RandAugment",
    "concatenate",
    "crop_and_flip",
    "cutout",
    "draw",
    "magnitudes",
)
