"""What is trained: one chain of modules, each adding one thing."""

from dasc.modules.classifier import Classifier
from dasc.modules.distilled import DistilledClassifier, Selection
from dasc.modules.initial import InitFrom, start_from
from dasc.modules.progress import epoch_is_complete, gather
from dasc.modules.pruned import PrunedClassifier
from dasc.modules.record import trainer_settings
from dasc.modules.schedule import StageLR
from dasc.modules.teacher import LoadedTeacher, TeacherConfig, load_teacher

__all__ = (
    "Classifier",
    "DistilledClassifier",
    "InitFrom",
    "LoadedTeacher",
    "PrunedClassifier",
    "Selection",
    "StageLR",
    "TeacherConfig",
    "epoch_is_complete",
    "gather",
    "load_teacher",
    "start_from",
    "trainer_settings",
)
