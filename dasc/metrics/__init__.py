"""Test metrics that add up over batches and processes, and the table of them."""

from dasc.metrics.calibration_error import CalibrationError
from dasc.metrics.class_discrimination import ClassDiscrimination, Reading
from dasc.metrics.image_mean import ImageMean, correct, negative_log_likelihood
from dasc.metrics.interval import CONFIDENCE, proportion_interval
from dasc.metrics.metric_set import MetricSet
from dasc.metrics.spec import MetricFormat, MetricSpec, OutputShape
from dasc.metrics.table import METRICS, VIEWS, select_metrics, study_formats
from dasc.metrics.teacher_stddev import TeacherStddev

__all__ = (
    "CONFIDENCE",
    "METRICS",
    "VIEWS",
    "CalibrationError",
    "ClassDiscrimination",
    "ImageMean",
    "MetricFormat",
    "MetricSet",
    "MetricSpec",
    "OutputShape",
    "Reading",
    "TeacherStddev",
    "correct",
    "negative_log_likelihood",
    "proportion_interval",
    "select_metrics",
    "study_formats",
)
