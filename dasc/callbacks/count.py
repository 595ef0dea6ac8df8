"""Number of images that were scored."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dasc.data import Batch
from dasc.modules import gather


class ImageCount(Callback):
    """Counts the images of a validation or a test over all processes; limits of the trainer may leave some out.

    Attributes:
        images: Number of images, known after the last batch.
    """

    def __init__(self) -> None:
        self.images = 0
        self._here = 0

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *args: Any, **kwargs: Any
    ) -> None:
        """Count the images of a batch."""
        self._here += len(batch.targets)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the counts of all processes."""
        self.images, self._here = sum(gather(self._here)), 0

    on_test_end = on_validation_end
