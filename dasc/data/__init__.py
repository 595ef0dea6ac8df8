"""Labelled images as batches of uint8 on the device."""

from dasc.data.batch import Batch
from dasc.data.image_data import ImageData
from dasc.data.resident import EvaluationLoader, TrainingLoader
from dasc.data.sets import DATASETS, ImageSet, SetInfo
from dasc.data.splits import stratified_split

__all__ = (
    "DATASETS",
    "Batch",
    "EvaluationLoader",
    "ImageData",
    "ImageSet",
    "SetInfo",
    "TrainingLoader",
    "stratified_split",
)
