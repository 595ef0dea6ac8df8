"""Masks, and the criteria that select the weights they prune and the channels that are removed."""

from dasc.pruning.channels import ChannelCriterion, ChannelL1
from dasc.pruning.criterion import Criterion, prune_lowest
from dasc.pruning.l1 import L1, Scope
from dasc.pruning.lamp import LAMP
from dasc.pruning.masks import Masks
from dasc.pruning.random import Random

__all__ = ("L1", "LAMP", "ChannelCriterion", "ChannelL1", "Criterion", "Masks", "Random", "Scope", "prune_lowest")
