"""What augmentation does to a network's answers, as metrics that add up over batches and processes."""

from dasc.metrics.class_discrimination import ClassDiscrimination, Reading
from dasc.metrics.teacher_stddev import TeacherStddev

__all__ = ("ClassDiscrimination", "Reading", "TeacherStddev")
