"""Models to export, as if they were trained."""

import torch
from torch import nn

from dasc.export.format import Model
from dasc.export.metadata import Metadata
from dasc.networks import describe_network
from dasc.prediction import InputFormat
from dasc.stages.structure import structure_of


def model_of(
    network: nn.Module, size: int = 32, preprocess: bool = False, sparsity: float = 0.0, seed: int = 0
) -> Model:
    """Return a network with 10 classes as a model; BatchNorm has statistics, and random weights are zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                shape = module.num_features
                module.running_mean = torch.randn(shape, generator=generator) * 0.1
                module.running_var = torch.rand(shape, generator=generator) + 0.5
                module.weight.copy_(torch.rand(shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(shape, generator=generator) * 0.1)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(
                    torch.randn(module.weight.shape, generator=generator) * 0.5 / module.weight[0].numel() ** 0.5
                )
                module.weight.mul_(torch.rand(module.weight.shape, generator=generator) >= sparsity)
    classes = tuple(f"class {number}" for number in range(10))
    form = InputFormat((size, size), 1.0, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    return Model(network.eval(), Metadata(describe_network(network), structure_of(network), classes, form, preprocess))


def images_of(model: Model, count: int = 8) -> torch.Tensor:
    """Return a batch as the exported file takes it: uint8, or normalised float32."""
    size = model.metadata.input_format.image_size
    images = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    if model.metadata.preprocess:
        return images
    form = model.metadata.input_format
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (form.mean, form.std))
    return (images / 255 - mean) / std
