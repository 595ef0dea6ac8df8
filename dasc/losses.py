"""Losses of distillation, and the choice among augmented views of an image."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Divergence = Literal["kl", "cross_entropy"]


class DistillationLoss(NamedTuple):
    """The loss and its two unweighted parts, each a mean over the batch."""

    loss: Tensor
    ce: Tensor
    kl: Tensor


def divergence(student: Tensor, teacher: Tensor, temperature: float, kind: Divergence = "kl") -> Tensor:
    """Return how far the student's softened answers are from the teacher's, one number for each image.

    `cross_entropy` is Eq. 4 of Yu et al. (arXiv 2305.13232) as printed, `-tau^2 sum softmax(t/tau) log softmax(s/tau)`;
    `kl` is `tau^2 KL(softmax(t/tau) || softmax(s/tau))`, less by tau^2 times the teacher's entropy. Their gradients by
    the student are equal, but they can rank images differently.

    Half-precision logits are computed in float32, float64 ones in float64, also inside an autocast.

    Args:
        student: Logits (..., C), floating.
        teacher: Logits (..., C), floating.
        temperature: The tau that softens both, over 0.
        kind: Which of the two.

    Returns:
        Divergences (...), float32 or float64, at least 0 but for rounding.
    """
    with _full_precision(student):
        log_student = F.log_softmax(_wide(student) / temperature, dim=-1)
        log_teacher = F.log_softmax(_wide(teacher) / temperature, dim=-1)
        gap = log_teacher - log_student if kind == "kl" else -log_student
        return temperature**2 * (log_teacher.exp() * gap).sum(dim=-1)


def distillation(
    student: Tensor,
    teacher: Tensor,
    targets: Tensor,
    alpha: float,
    temperature: float,
    label_smoothing: float = 0.0,
) -> DistillationLoss:
    """Return the student's loss `alpha CE + (1 - alpha) KL` (Hinton et al., arXiv 1503.02531, with tau^2 on KL).

    No gradient flows to the teacher. Precision is as in `divergence`.

    Args:
        student: Logits (B, C), floating.
        teacher: Logits (B, C), floating.
        targets: Classes (B,), int64.
        alpha: Weight of the cross entropy, in [0, 1].
        temperature: The tau of KL, over 0; the cross entropy has none.
        label_smoothing: Of the cross entropy, in [0, 1).
    """
    with _full_precision(student):
        ce = F.cross_entropy(_wide(student), targets, label_smoothing=label_smoothing)
        kl = divergence(student, teacher.detach(), temperature).mean()
        return DistillationLoss(alpha * ce + (1 - alpha) * kl, ce, kl)


@torch.no_grad()
def selection_scores(
    teacher: Tensor,
    student: Tensor,
    targets: Tensor,
    ce_weight: float,
    kl_weight: float,
    temperature: float,
    kind: Divergence,
) -> Tensor:
    """Score n views of each image by Eq. 6 of Yu et al. (arXiv 2305.13232): the lower, the better.

    A view is good where the teacher is right and the student is far from it:
    `ce_weight CE(t(x_i), y) - kl_weight divergence(s(x_i), t(x_i))`. Precision is as in `divergence`.

    Args:
        teacher: Logits (n, B, C), floating.
        student: Logits (n, B, C), floating.
        targets: Classes (B,), int64, the same for all views of an image.
        ce_weight: Weight of the teacher's cross entropy, at least 0.
        kl_weight: Weight of the divergence, at least 0.
        temperature: The tau of the divergence, over 0; the cross entropy has none.
        kind: The divergence's form.

    Returns:
        Scores (n, B), float32 or float64, without gradient.
    """
    with _full_precision(teacher):
        views, images, _ = teacher.shape
        ce = F.cross_entropy(_wide(teacher).flatten(0, 1), targets.repeat(views), reduction="none")
        return ce_weight * ce.view(views, images) - kl_weight * divergence(student, teacher, temperature, kind)


def select(scores: Tensor) -> Tensor:
    """Return the view (int64, (B,)) with the lowest of the scores (n, B) of each image, the first one among equals."""
    return scores.argmin(dim=0)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _full_precision(logits: Tensor) -> torch.autocast:
    return torch.autocast(logits.device.type, enabled=False)
