"""A file agrees with its network if its outputs are close and its classes are the same."""

import pytest
import torch

from dasc.errors import UserError
from dasc.export.agreement import Comparison, compare

LOGITS = torch.tensor([[3.0, 1.0, -20.0], [0.5, 0.5001, 0.0], [1.0, 2.0, 4.0]])


def test_equal_outputs_agree() -> None:
    comparison = compare(LOGITS, LOGITS.clone())
    assert comparison.agrees
    assert comparison.images == 3
    assert comparison.largest_difference == 0


@pytest.mark.parametrize(("difference", "agrees"), [(0.0019, True), (0.0021, False)])
def test_the_tolerance_grows_with_the_largest_output_of_all_batches(difference: float, agrees: bool) -> None:
    comparison = Comparison()
    comparison.update(LOGITS[2:], LOGITS[2:] - difference)
    assert not comparison.agrees  # 4e-4 is the tolerance as long as 4 is the largest output
    comparison.update(LOGITS[:2], LOGITS[:2])
    assert comparison.tolerance == pytest.approx(0.002)
    assert comparison.largest_difference == pytest.approx(difference, rel=1e-3)
    assert comparison.agrees is agrees


def test_small_outputs_have_the_tolerance_of_one() -> None:
    assert compare(LOGITS / 1000, LOGITS / 1000 + 0.9e-4).agrees
    assert not compare(LOGITS / 1000, LOGITS / 1000 + 1.1e-4).agrees


def test_another_class_is_permitted_at_a_margin_below_twice_the_difference_only() -> None:
    expected = torch.tensor([[0.5, 0.50001, 0.0], [0.5, 0.0, 0.0]])
    near = compare(expected, expected + torch.tensor([[1e-5, -1e-5, 0.0], [0.0, 0.0, 0.0]]))
    assert near.agrees
    assert near.other_classes == 0
    assert "except for 1 near-tie" in near.sentence("file")
    far = Comparison()
    far.update(expected[:1], torch.tensor([[0.500011, 0.50001, 0.0]]))  # the margin is 1e-5, the difference 1.1e-5
    assert far.agrees
    far = Comparison()
    far.update(torch.tensor([[0.0, 1e-5]]), torch.tensor([[4e-6, 3.9e-6]]))
    assert far.agrees
    swapped = compare(torch.tensor([[0.2, 0.2 + 1e-4]]).repeat(2, 1), torch.tensor([[0.2 + 5e-5, 0.2 + 4.9e-5]] * 2))
    assert swapped.agrees


def test_a_margin_of_more_than_twice_the_difference_never_permits_another_class() -> None:
    comparison = Comparison()
    comparison._margins.append(1.0)
    comparison.update(LOGITS, LOGITS + 1e-5)
    assert comparison.other_classes == 1
    assert not comparison.agrees
    assert "file does not agree with the network on 3 images" in comparison.sentence("file")
    assert "another class on 1" in comparison.sentence("file")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["expected", "actual", "both"])
def test_outputs_that_are_not_finite_never_agree(value: float, place: str) -> None:
    expected, actual = LOGITS.clone(), LOGITS.clone()
    if place != "actual":
        expected[1, 2] = value
    if place != "expected":
        actual[1, 2] = value
    comparison = Comparison()
    comparison.update(expected, actual)
    comparison.update(LOGITS, LOGITS)
    assert not comparison.agrees
    assert "does not agree" in comparison.sentence("file")


def test_without_images_nothing_is_proved() -> None:
    comparison = compare(torch.zeros(0, 3), torch.zeros(0, 3))
    assert not comparison.agrees
    assert comparison.sentence("file") == "file was not compared with the network: there are no images"


def test_the_sentence_says_how_close_the_outputs_are() -> None:
    sentence = compare(LOGITS[:1], LOGITS[:1] + 0.5e-3).sentence("a.onnx")
    assert sentence == (
        "a.onnx agrees with the network on 1 image: largest difference 5.0e-04, permitted 2.0e-03, the same classes"
    )


def test_outputs_of_another_shape_are_an_error() -> None:
    with pytest.raises(UserError, match=r"must have the shape \[3, 3\], got \[3, 2\]"):
        compare(LOGITS, LOGITS[:, :2])
