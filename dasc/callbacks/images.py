"""What the augmentation does to the images."""

from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.utils import make_grid

from dasc.callbacks.board import boards
from dasc.callbacks.context import image_data
from dasc.data import Batch
from dasc.stages import Stages

LEAST_SIDE = 64
"""Pixels of the shorter side of an image in the grid, at least: smaller images are enlarged."""


class AugmentedImages(Callback):
    """Shows, in TensorBoard, the first training images of each stage as the network sees them.

    The grid `augmented/stage-K` (K from 1) stands at the stage's first epoch, with the images of the first process.

    Args:
        stages: The table of stages.
        count: Images in the grid, at most.
    """

    def __init__(self, stages: Stages, count: int = 32) -> None:
        self._stages = stages
        self._count = count

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Write the grid, where a stage starts."""
        epoch = trainer.current_epoch
        if batch_idx > 0 or not self._stages.starts_at(epoch):
            return
        for logger in boards(trainer):
            data = image_data(trainer)
            pixels = _pixels(_first(batch.images, self._count), data.mean, data.std)
            tag = f"augmented/stage-{self._stages.stage_at(epoch) + 1}"
            logger.experiment.add_image(tag, make_grid(_enlarge(pixels), pad_value=128), epoch)


def _first(images: Tensor, count: int) -> Tensor:
    """Return `count` images; of (n, B, 3, H, W) the views of an image after each other."""
    return images[:count] if images.dim() == 4 else images.transpose(0, 1).flatten(0, 1)[:count]


def _pixels(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo the normalisation: uint8 (B, 3, H, W) on the CPU."""
    shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (images.detach().float().cpu() * scale + shift).clamp(0, 1).mul(255).round().to(torch.uint8)


def _enlarge(images: Tensor) -> Tensor:
    """Repeat each pixel until the images are large enough to be looked at."""
    times = -(-LEAST_SIDE // min(images.shape[-2:]))
    return images.repeat_interleave(times, -2).repeat_interleave(times, -1)
