"""What happens as a run goes through its stages, and what it leaves."""

from dasc.callbacks.auxiliary import DropAuxiliaryLayers
from dasc.callbacks.averaging import WeightEMA
from dasc.callbacks.board import Board
from dasc.callbacks.channels import RemoveChannels
from dasc.callbacks.checkpoints import AtomicCheckpointIO, StageCheckpoint
from dasc.callbacks.finite import StopNotFinite
from dasc.callbacks.images import AugmentedImages
from dasc.callbacks.magnitude import MagnitudeDecay
from dasc.callbacks.predictions import PredictionWriter
from dasc.callbacks.progress import StageProgressBar, StageProgressLines
from dasc.callbacks.pruning import L1Pruning
from dasc.callbacks.recalibrate import RecalibrateBatchNorm
from dasc.callbacks.report import StageReport
from dasc.callbacks.selection import SelectionReport
from dasc.callbacks.teacher import StageTeacher
from dasc.callbacks.timing import Timing

__all__ = (
    "AtomicCheckpointIO",
    "AugmentedImages",
    "Board",
    "DropAuxiliaryLayers",
    "L1Pruning",
    "MagnitudeDecay",
    "PredictionWriter",
    "RecalibrateBatchNorm",
    "RemoveChannels",
    "SelectionReport",
    "StageCheckpoint",
    "StageProgressBar",
    "StageProgressLines",
    "StageReport",
    "StageTeacher",
    "StopNotFinite",
    "Timing",
    "WeightEMA",
)
