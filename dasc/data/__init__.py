"""Labelled images as batches of uint8 on the device. Only `ImageData` needs Lightning."""

from typing import TYPE_CHECKING, Any

from dasc.data.augmentation import AugmentationState
from dasc.data.batch import Batch
from dasc.data.order import EvaluationOrder, Order, TrainingOrder
from dasc.data.pipeline import BatchPipeline, PipelineConfig, TrainingEpoch
from dasc.data.resident import ResidentLoader
from dasc.data.sets import DATASETS, AnySet, FileSet, ImageSet, SetInfo
from dasc.data.splits import stratified_split
from dasc.data.streamed import StreamedLoader

if TYPE_CHECKING:
    from dasc.data.image_data import ImageData

__all__ = (
    "DATASETS",
    "AnySet",
    "AugmentationState",
    "Batch",
    "BatchPipeline",
    "EvaluationOrder",
    "FileSet",
    "ImageData",
    "ImageSet",
    "Order",
    "PipelineConfig",
    "ResidentLoader",
    "SetInfo",
    "StreamedLoader",
    "TrainingEpoch",
    "TrainingOrder",
    "stratified_split",
)


def __getattr__(name: str) -> Any:
    """Import `ImageData` on first use: a loop without Lightning does not wait for it."""
    if name == "ImageData":
        from dasc.data.image_data import ImageData

        return ImageData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
