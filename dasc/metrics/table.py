"""The table of test metrics: `dasc test`, `dasc teacher-report` and `dasc study` read it."""

from collections.abc import Iterable

from dasc.errors import UserError, unknown_name
from dasc.metrics.calibration_error import CalibrationError
from dasc.metrics.class_discrimination import ClassDiscrimination
from dasc.metrics.image_mean import ImageMean, correct, negative_log_likelihood
from dasc.metrics.spec import MetricFormat, MetricSpec
from dasc.metrics.teacher_stddev import TeacherStddev

VIEWS = 5
"""Fixed draws of the augmentation that a test applies to each image."""

METRICS: dict[str, MetricSpec] = {
    "accuracy": MetricSpec(
        lambda shape: ImageMean(correct),
        "accuracy",
        "accuracy",
        study=MetricFormat("Test accuracy (%)", "test (%)"),
        is_proportion=True,
    ),
    "nll": MetricSpec(
        lambda shape: ImageMean(negative_log_likelihood),
        "negative log-likelihood",
        "NLL",
        study=MetricFormat("Test negative log-likelihood", "test NLL", 1.0, 3, higher=False),
    ),
    "ece": MetricSpec(
        lambda shape: CalibrationError(shape.num_classes),
        "calibration error",
        "ECE",
        study=MetricFormat("Test calibration error (ECE)", "test ECE", 1.0, 4, higher=False),
    ),
    "class_discrimination": MetricSpec(
        lambda shape: ClassDiscrimination(shape.num_classes),
        "class discrimination, predictions",
        "discr. (p)",
    ),
    "latent_discrimination": MetricSpec(
        lambda shape: ClassDiscrimination(shape.num_classes, "latent", num_features=shape.num_features),
        "class discrimination, latent",
        "discr. (latent)",
        needs="features",
    ),
    "teacher_stddev": MetricSpec(
        lambda shape: TeacherStddev(shape.num_classes, shape.views),
        "T. stddev over draws of the augmentation",
        "T. stddev",
        needs="views",
    ),
}
"""The metrics by name. `dasc test` logs each as `test/NAME`; the key is also the column of teachers.csv."""


def select_metrics(names: Iterable[str] | None = None) -> dict[str, MetricSpec]:
    """Return the rows of some metrics, or of all of them.

    Args:
        names: Names of the table; None: all.

    Raises:
        UserError: A name is not in the table.
    """
    if names is None:
        return dict(METRICS)
    chosen = list(names)
    for name in chosen:
        if name not in METRICS:
            raise UserError(unknown_name("metric", name, METRICS))
    return {name: METRICS[name] for name in chosen}


def study_formats() -> dict[str, MetricFormat]:
    """Return the metrics that a study computes, with their formats."""
    return {name: spec.study for name, spec in METRICS.items() if spec.study is not None}
