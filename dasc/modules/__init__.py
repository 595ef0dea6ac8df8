"""What is trained: one chain of modules, each adding one thing."""

from dasc.modules.classifier import Classifier
from dasc.modules.initial import InitFrom, start_from
from dasc.modules.pruned import PrunedClassifier
from dasc.modules.schedule import StageLR

__all__ = ("Classifier", "InitFrom", "PrunedClassifier", "StageLR", "start_from")
