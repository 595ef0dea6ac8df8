"""Batches of images that are in memory, on the device as a rule: no worker stands between them and a step."""

from collections.abc import Iterator

import torch

from dasc.data.batch import Batch
from dasc.data.order import Order
from dasc.data.sets import ImageSet


class ResidentLoader:
    """Batches out of a tensor.

    Args:
        images: The images.
        order: Which images make which batch of this process.
    """

    def __init__(self, images: ImageSet, order: Order) -> None:
        self._images = images
        self._order = order

    @property
    def sampler(self) -> Order:
        """The order: Lightning calls `loader.sampler.set_epoch` before every epoch."""
        return self._order

    @property
    def batch_sampler(self) -> None:
        """None: Lightning asks every loader that has a sampler."""

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        device = self._images.targets.device
        batches = self._order.batches()
        places = torch.cat(batches).to(device).split([len(batch) for batch in batches])  # one copy an epoch
        for number, here in enumerate(places):
            images, targets = (tensor.index_select(0, here) for tensor in self._images)
            yield Batch(images, targets, here, number)
