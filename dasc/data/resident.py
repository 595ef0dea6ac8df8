"""Batches of images that are in memory, on the device as a rule: no worker stands between them and a step."""

from collections.abc import Iterator

import torch

from dasc.data.batch import Batch
from dasc.data.order import Order, OrderedLoader
from dasc.data.sets import ImageSet


class ResidentLoader(OrderedLoader):
    """Batches out of a tensor.

    Args:
        images: The images.
        order: Which images make which batch of this process.
    """

    def __init__(self, images: ImageSet, order: Order) -> None:
        self._images = images
        super().__init__(order)

    def __iter__(self) -> Iterator[Batch]:
        device = self._images.targets.device
        numbers, batches = self._remaining()
        if not batches:
            return
        places = torch.cat(batches).to(device).split([len(batch) for batch in batches])  # one copy an epoch
        for number, here in zip(numbers, places, strict=True):
            images, targets = (tensor.index_select(0, here) for tensor in self._images)
            self._returned = number + 1
            yield Batch(images, targets, here, number)
