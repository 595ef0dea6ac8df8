"""Predictions for image files without labels, from a checkpoint alone; no Lightning needed."""

from dasc.prediction.images import IMG_EXTENSIONS, FoundImages, find_images
from dasc.prediction.locate import find_checkpoint
from dasc.prediction.predict import Prediction, Unreadable, predict_files
from dasc.prediction.predictor import CheckpointPredictor, InputFormat, Predictor
from dasc.prediction.table import cells, check_new, columns, new_csv

__all__ = (
    "IMG_EXTENSIONS",
    "CheckpointPredictor",
    "FoundImages",
    "InputFormat",
    "Prediction",
    "Predictor",
    "Unreadable",
    "cells",
    "check_new",
    "columns",
    "find_checkpoint",
    "find_images",
    "new_csv",
    "predict_files",
)
