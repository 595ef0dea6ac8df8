"""Masks, and the criteria that select which weights they prune."""

from dasc.pruning.criterion import Criterion, prune_lowest
from dasc.pruning.l1 import L1, Scope
from dasc.pruning.lamp import LAMP
from dasc.pruning.masks import Masks
from dasc.pruning.random import Random

__all__ = ("L1", "LAMP", "Criterion", "Masks", "Random", "Scope", "prune_lowest")
