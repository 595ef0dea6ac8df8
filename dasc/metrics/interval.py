"""Confidence interval of a proportion."""

CONFIDENCE = 0.95
"""Probability with which the interval contains the proportion of all images."""


def proportion_interval(share: float, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's confidence interval of the proportion that a share of images was drawn from.

    Args:
        share: Share of the images that have a property, in [0, 1]; a whole number of images up to rounding.
        count: Number of images, at least 1.
        confidence: Probability in (0, 1).

    Returns:
        Lower and upper bound, in [0, 1].
    """
    from scipy.stats import binomtest  # takes as long to import as all other metrics

    interval = binomtest(round(share * count), count).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
