"""Labelled images as batches of uint8 on the device."""

from dasc.data.batch import Batch
from dasc.data.image_data import ImageData
from dasc.data.order import EvaluationOrder, Order, TrainingOrder
from dasc.data.resident import ResidentLoader
from dasc.data.sets import DATASETS, AnySet, FileSet, ImageSet, SetInfo
from dasc.data.splits import stratified_split
from dasc.data.streamed import StreamedLoader

__all__ = (
    "DATASETS",
    "AnySet",
    "Batch",
    "EvaluationOrder",
    "FileSet",
    "ImageData",
    "ImageSet",
    "Order",
    "ResidentLoader",
    "SetInfo",
    "StreamedLoader",
    "TrainingOrder",
    "stratified_split",
)
