"""Places of labels in a panel that cover neither each other nor the points."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_STEPS = 60
"""Places that are tried in each direction."""


def place_labels(points: Array, sizes: Array, obstacles: Array, width: float, height: float) -> Array:
    """Return the lower left corners of labels, each as near to its point as the others allow.

    A label covers no obstacle, no point and no label before it, as long as there is such a place in the panel.

    Args:
        points: Points in the panel, (N, 2), with the origin at its lower left corner.
        sizes: Widths and heights of their labels, (N, 2), with the margin that they keep.
        obstacles: Boxes that no label covers, such as error bars, (M, 4): left, bottom, right, top.
        width: Width of the panel, in the same unit.
        height: Height of the panel.

    Returns:
        The corners, (N, 2).
    """
    taken = [*obstacles]
    corners = np.zeros((len(points), 2))
    for place in np.argsort(-points[:, 1], kind="stable"):  # from above
        grid = _grid(width - sizes[place, 0], height - sizes[place, 1])
        boxes = np.concatenate([grid, grid + sizes[place]], axis=1)
        covered = sum((_overlap(boxes, box) for box in taken), np.zeros(len(boxes)))
        distance = _distance(boxes, points[place])
        best = np.lexsort((distance, covered))[0]
        corners[place] = grid[best]
        taken.append(boxes[best])
    return corners


def _grid(width: float, height: float) -> Array:
    xs, ys = (np.linspace(0, max(length, 0.0), _STEPS) for length in (width, height))
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def _overlap(boxes: Array, box: Sequence[float] | Array) -> Array:
    """Return the area that boxes (N, 4) have in common with a box (4,)."""
    widths = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0])
    heights = np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1])
    area: Array = np.clip(widths, 0, None) * np.clip(heights, 0, None)
    return area


def _distance(boxes: Array, point: Array) -> Array:
    """Return the distance of a point from boxes (N, 4), 0 inside."""
    nearest = np.clip(point, boxes[:, :2], boxes[:, 2:])
    distance: Array = np.linalg.norm(nearest - point, axis=1)
    return distance
