"""Normalisation and softmax within an exported graph."""

import torch
from torch import Tensor, nn

from dasc.prediction import InputFormat


class Preprocessed(nn.Module):
    """Network with normalisation before it and softmax after it.

    The normalisation is that of `dasc.data.pipeline.BatchPipeline.normalise`.

    Args:
        network: Maps normalised images to logits.
        input_format: Its mean and standard deviation are those of the normalisation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, input_format: InputFormat) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(input_format.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(input_format.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (B, 3, H, W) to class probabilities (B, classes)."""
        logits: Tensor = self.network((images.to(self.mean.dtype) / 255 - self.mean) / self.std)
        return logits.softmax(1)
