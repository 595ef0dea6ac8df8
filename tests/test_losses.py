import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dasc.losses import Divergence, distillation, divergence, select, selection_scores

KINDS: list[Divergence] = ["kl", "cross_entropy"]
WEIGHTS = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]
TEMPERATURES = [0.5, 1.0, 4.0]
HALVES = [torch.bfloat16, torch.float16]


def logits(*shape: int, seed: int, size: float = 3.0) -> Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(count))


def log_softmax_by_hand(row: list[float], temperature: float) -> list[float]:
    scaled = [x / temperature for x in row]
    top = max(scaled)
    total = math.fsum(math.exp(x - top) for x in scaled)
    return [x - top - math.log(total) for x in scaled]


def divergence_by_hand(student: list[float], teacher: list[float], temperature: float, kind: Divergence) -> float:
    log_s, log_t = (log_softmax_by_hand(row, temperature) for row in (student, teacher))
    if kind == "kl":
        return temperature**2 * math.fsum(math.exp(t) * (t - s) for s, t in zip(log_s, log_t, strict=True))
    return -(temperature**2) * math.fsum(math.exp(t) * s for s, t in zip(log_s, log_t, strict=True))


def ce_by_hand(row: list[float], target: int, smoothing: float = 0.0) -> float:
    log_p = log_softmax_by_hand(row, 1.0)
    return -(1 - smoothing) * log_p[target] - smoothing * math.fsum(log_p) / len(log_p)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_divergence_of_each_image_is_that_of_a_softmax_written_by_hand(
    temperature: float, kind: Divergence
) -> None:
    student, teacher = logits(2, 6, 5, seed=1), logits(2, 6, 5, seed=2)
    expected = [
        [divergence_by_hand(s, t, temperature, kind) for s, t in zip(*rows, strict=True)]
        for rows in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    got = divergence(student, teacher, temperature, kind)
    assert got.shape == (2, 6)
    assert got.flatten().tolist() == pytest.approx([x for row in expected for x in row], rel=1e-5)
    fine = divergence(student.double(), teacher.double(), temperature, kind)
    assert fine.dtype is torch.float64
    assert fine.flatten().tolist() == pytest.approx([x for row in expected for x in row], rel=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_kl_of_equal_answers_is_zero_and_so_is_its_gradient(temperature: float) -> None:
    student = logits(6, 5, seed=1).requires_grad_()
    kl = divergence(student, student.detach() + 7.0, temperature)
    kl.sum().backward()
    assert kl.tolist() == pytest.approx([0.0] * 6, abs=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-5
    assert divergence(student, student, temperature).tolist() == [0.0] * 6


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_both_divergences_have_one_gradient_by_the_student(temperature: float) -> None:
    teacher = logits(6, 5, seed=2).double()
    gradients = []
    for kind in KINDS:
        student = logits(6, 5, seed=1).double().requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(student, teacher, temperature, kind).sum(), student)
        gradients.append(gradient.flatten().tolist())
    answers = [[log_softmax_by_hand(row, temperature) for row in x.tolist()] for x in (logits(6, 5, seed=1), teacher)]
    expected = [
        temperature * (math.exp(s) - math.exp(t))
        for rows in zip(*answers, strict=True)
        for s, t in zip(*rows, strict=True)
    ]
    assert gradients[0] == pytest.approx(gradients[1], abs=1e-12)
    assert gradients[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_weighs_the_means_of_cross_entropy_and_kl(alpha: float, temperature: float, smoothing: float) -> None:
    student, teacher, targets = logits(6, 5, seed=1), logits(6, 5, seed=2), labels(6, 5)
    rows = list(zip(student.tolist(), teacher.tolist(), targets.tolist(), strict=True))
    ce = math.fsum(ce_by_hand(s, y, smoothing) for s, _, y in rows) / 6
    kl = math.fsum(divergence_by_hand(s, t, temperature, "kl") for s, t, _ in rows) / 6
    got = distillation(student, teacher, targets, alpha, temperature, smoothing)
    assert [x.shape for x in got] == [torch.Size([])] * 3
    assert [x.item() for x in got] == pytest.approx([alpha * ce + (1 - alpha) * kl, ce, kl], rel=1e-5)


def test_the_gradient_flows_to_the_student_alone() -> None:
    student, teacher = logits(6, 5, seed=1).requires_grad_(), logits(6, 5, seed=2).requires_grad_()
    distillation(student, teacher, labels(6, 5), 0.1, 4.0).loss.backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [3.0, 1e4])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_half_precision_inside_autocast_costs_the_loss_nothing(
    dtype: torch.dtype, size: float, temperature: float
) -> None:
    student, teacher = (logits(6, 5, seed=seed, size=size).to(dtype) for seed in (1, 2))
    targets = labels(6, 5)
    exact = distillation(student.float(), teacher.float(), targets, 0.1, temperature)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = distillation(student.requires_grad_(), teacher, targets, 0.1, temperature)
        got.loss.backward()
        kinds = [divergence(student, teacher, temperature, kind).detach() for kind in KINDS]
    assert [x.dtype for x in got] == [torch.float32] * 3
    assert [x.item() for x in got] == [x.item() for x in exact]
    assert [x.dtype for x in kinds] == [torch.float32] * 2
    for kind, values in zip(KINDS, kinds, strict=True):
        rows = zip(student.tolist(), teacher.tolist(), strict=True)
        expected = [divergence_by_hand(s, t, temperature, kind) for s, t in rows]
        assert values.tolist() == pytest.approx(expected, rel=1e-4)
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    assert student.grad.abs().sum() > 0


class AutocastSeen(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.by_function: dict[str, bool] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.by_function[getattr(func, "__name__", "")] = torch.is_autocast_enabled("cpu")
        return func(*args, **(kwargs or {}))


def test_autocast_is_off_wherever_logits_are_computed_with() -> None:
    views, targets = logits(3, 6, 5, seed=1), labels(6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16), AutocastSeen() as seen:
        distillation(views[0], views[1], targets, 0.1, 4.0)
        selection_scores(views, views, targets, 1.0, 1.0, 4.0, "kl")
        assert torch.is_autocast_enabled("cpu")
    computed = {name: on for name, on in seen.by_function.items() if name in ("log_softmax", "cross_entropy", "sum")}
    assert computed == {"log_softmax": False, "cross_entropy": False, "sum": False}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_view_is_the_one_that_equation_6_picks_image_by_image(
    weights: tuple[float, float], kind: Divergence, temperature: float
) -> None:
    teacher, student, targets = logits(4, 40, 5, seed=1), logits(4, 40, 5, seed=2), labels(40, 5)
    scores = selection_scores(teacher, student, targets, *weights, temperature, kind)
    picked = select(scores)
    assert scores.shape == (4, 40)
    assert picked.dtype is torch.int64
    for image, target in enumerate(targets.tolist()):
        best, lowest = -1, math.inf
        for view in range(4):
            t, s = teacher[view, image].tolist(), student[view, image].tolist()
            score = weights[0] * ce_by_hand(t, target) - weights[1] * divergence_by_hand(s, t, temperature, kind)
            assert scores[view, image].item() == pytest.approx(score, rel=1e-4, abs=1e-5)
            if score < lowest:
                best, lowest = view, score
        assert picked[image].item() == best


def test_each_weight_and_each_divergence_has_its_own_picks() -> None:
    teacher, student, targets = logits(4, 200, 5, seed=1), logits(4, 200, 5, seed=2), labels(200, 5)
    picks = {
        tuple(select(selection_scores(teacher, student, targets, *weights, 4.0, kind)).tolist())
        for weights in WEIGHTS
        for kind in KINDS
    }
    assert len(picks) == 5  # six, but both divergences with weight 0 are the cross entropy alone


def test_the_cross_entropy_form_picks_an_unsure_teacher_where_kl_picks_a_disagreement() -> None:
    unsure, sure, less_sure = (torch.tensor([p, 1 - p]).log() for p in (0.5, 0.9, 0.8))
    teacher, student = torch.stack([unsure, sure])[:, None], torch.stack([unsure, less_sure])[:, None]
    by_kind = [select(selection_scores(teacher, student, torch.tensor([0]), 0.0, 1.0, 1.0, kind)) for kind in KINDS]
    assert [picked.tolist() for picked in by_kind] == [[1], [0]]


def test_scores_have_no_gradient_and_are_those_of_float32_in_half_precision() -> None:
    teacher, student = (logits(4, 8, 5, seed=seed, size=100.0).bfloat16().requires_grad_() for seed in (1, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = selection_scores(teacher, student, labels(8, 5), 1.0, 1.0, 4.0, "kl")
    assert not scores.requires_grad
    expected = selection_scores(teacher.float(), student.float(), labels(8, 5), 1.0, 1.0, 4.0, "kl")
    assert torch.equal(scores, expected)


def test_the_first_of_equal_views_is_picked() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.5, 3.0], [2.0, 0.5, 0.0]])
    assert select(scores).tolist() == [0, 1, 0]
    assert select(torch.zeros(64, 33)).tolist() == [0] * 33
