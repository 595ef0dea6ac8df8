"""The table of metrics: its means over images, its selection by name, and what it imports."""

import pytest
import torch
from torch.nn import functional as F

from dasc.errors import UserError
from dasc.metrics import (
    METRICS,
    CalibrationError,
    ImageMean,
    MetricSet,
    correct,
    negative_log_likelihood,
    select_metrics,
)
from dasc.networks import CifarResNet


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nl", "unknown metric 'nl': did you mean nll?"),
        ("x", f"unknown metric 'x': known are {', '.join(sorted(METRICS))}"),
    ],
)
def test_an_unknown_metric_is_named_with_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        select_metrics(["accuracy", name])
    assert str(raised.value) == message


def test_metrics_are_selected_in_the_order_of_their_names() -> None:
    assert list(select_metrics(["ece", "accuracy"])) == ["ece", "accuracy"]
    assert list(select_metrics()) == list(METRICS)


def test_a_value_that_is_not_a_number_is_not_left_out_of_the_mean() -> None:
    mean = ImageMean(lambda logits, targets: logits[:, 0])
    mean.update(torch.tensor([[1.0], [torch.nan]]), torch.zeros(2, dtype=torch.int64))
    assert torch.isnan(mean.compute())


def test_a_mean_is_over_images_and_not_over_batches() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(7, 4), torch.arange(7) % 4
    accuracy, nll = ImageMean(correct), ImageMean(negative_log_likelihood)
    for part in (slice(0, 5), slice(5, 7)):
        accuracy.update(logits[part], targets[part])
        nll.update(logits[part], targets[part])
    counted = sum(row.index(max(row)) == k for row, k in zip(logits.tolist(), targets.tolist(), strict=True))
    assert accuracy.compute().item() == pytest.approx(counted / 7)
    assert nll.compute().item() == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-6)


def test_the_calibration_error_is_that_of_probabilities_also_for_logits_between_0_and_1() -> None:
    error = CalibrationError(2)
    error.update(torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    assert error.compute().item() == pytest.approx(1 - 1 / (1 + 2.718281828**-0.8), rel=1e-5)


def test_an_image_with_a_logit_that_is_not_a_number_is_wrong_and_has_no_calibration() -> None:
    logits, targets = torch.tensor([[2.0, 0.0], [torch.nan, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
    assert correct(logits, targets).tolist() == [1, 0, 1]
    error = CalibrationError(2)
    error.update(logits, targets)
    assert error.compute().isnan()
    error.reset()
    error.update(logits[[0, 2]], targets[[0, 2]])
    assert error.compute().isfinite()


def test_a_set_leaves_out_what_is_not_available_and_computes_what_is_named() -> None:
    network = CifarResNet(4, depth=8).eval()
    device = torch.device("cpu")
    assert MetricSet(network, 4, device).views == 0
    assert MetricSet(network, 4, device, ["nll"], has_views=True).views == 0
    assert MetricSet(network, 4, device, has_views=True).views == 5
    chosen = MetricSet(network, 4, device, ["latent_discrimination", "nll", "teacher_stddev"])
    with torch.no_grad():
        chosen.update(torch.randn(6, 3, 8, 8), torch.arange(6) % 4)
    assert list(chosen.compute()) == ["latent_discrimination", "nll"]
