"""The table of stages: how long each stage is, and the state of network and data during it."""

from dasc.stages.column import Column, PlanFacts, PlanSizes, Prunable, StageFacts
from dasc.stages.columns import BOUNDARY, COLUMNS, ORDER, at_boundary, in_order
from dasc.stages.columns.lr import lr_at, lr_factor
from dasc.stages.schedules import MAX_MAGNITUDE, Constant, Linear, Magnitude, Schedule, parse_schedule
from dasc.stages.table import Stage, Stages

__all__ = (
    "BOUNDARY",
    "COLUMNS",
    "MAX_MAGNITUDE",
    "ORDER",
    "Column",
    "Constant",
    "Linear",
    "Magnitude",
    "PlanFacts",
    "PlanSizes",
    "Prunable",
    "Schedule",
    "Stage",
    "StageFacts",
    "Stages",
    "at_boundary",
    "in_order",
    "lr_at",
    "lr_factor",
    "parse_schedule",
)
