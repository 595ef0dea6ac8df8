from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasc.augment import RandAugment, draw
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.networks import CifarResNet
from dasc.seeding import Stream, mix
from dasc.study.magnitudes import Suited, select, suited
from dasc.study.scores import Scorer


def row(magnitude: str, sparsity: float, accuracy: float, **more: Any) -> dict[str, Any]:
    run = f"{magnitude}-{sparsity}-{more.get('seed', 0)}-{more.get('axis_network', '')}"
    return {
        **{"part": "study", "run": run, "seed": 0, "stage": 1, "final": 1, "magnitude": magnitude},
        **{"sparsity_asked": sparsity, "val_accuracy_last": accuracy, "val_accuracy_best": accuracy},
        **{"test_accuracy": accuracy, "test_nll": 1 - accuracy, "test_ece": 0.0},
        **more,
    }


ROWS = [
    *(row(m, 0.0, a) for m, a in (("none", 0.7), ("4", 0.72), ("9", 0.75), ("14", 0.7))),
    *(row(m, 0.5, a) for m, a in (("none", 0.6), ("4", 0.58), ("9", 0.55))),
]
LOSSES = {(r["run"], 1): loss for r, loss in zip(ROWS, (9, 0.9, 0.8, 1.1, 9, 1.2, 1.2), strict=True)}


def test_the_three_answers_stand_side_by_side() -> None:
    assert suited(ROWS, LOSSES) == [Suited(0.0, 9, "9", 14), Suited(0.5, 4, "none", None)]


def test_means_over_the_seeds_decide() -> None:
    second = [{**r, "seed": 1, "run": r["run"] + "b", "val_accuracy_last": 1.6 - r["val_accuracy_last"]} for r in ROWS]
    third = [{**r, "seed": 2, "run": r["run"] + "c"} for r in second]
    losses = {
        (r["run"], 1): LOSSES[r["run"].rstrip("bc"), 1] * (-1 if r["seed"] else 1) for r in [*ROWS, *second, *third]
    }
    assert suited([*ROWS, *second, *third], losses)[0] == Suited(0.0, 14, "none", 14)


@pytest.mark.parametrize(("by", "value"), [("optimal", "none"), ("eq3", 4)])
def test_a_choice_is_a_magnitude_of_the_table(by: str, value: int | str) -> None:
    assert Suited(0.5, 4, "none", None).chosen(by) == value


def test_a_choice_that_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match=r"sparsity 0\.5 has no maximal magnitude"):
        Suited(0.5, 4, "none", None).chosen("maximal")


def test_one_of_several_networks_is_chosen() -> None:
    rows = [{**r, "axis_network": n, "test_nll": r["test_nll"] + k} for k, n in enumerate("ab") for r in ROWS]
    axes = {"network": ["a", "b"]}
    assert len(select(rows, axes, {"network": "b"})) == len(ROWS)
    with pytest.raises(UserError, match="choose one by --select 'network=a'"):
        select(rows, axes, {})
    with pytest.raises(UserError, match="--select network=c is no label"):
        select(rows, axes, {"network": "c"})


class Brightness(nn.Module):
    """Says a class by the mean of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3), keepdim=True)[:, :, 0, 0] * torch.arange(10.0)


def test_the_loss_of_eq_3_is_the_mean_over_draws_of_randaugment_alone(tmp_path: Path) -> None:
    data = ImageData("digits", train_size=300, eval_batch_size=50)
    scorer = Scorer(data, "cpu", "32-true")
    network = Brightness()
    found = scorer.augmented_loss(network, 9, 2)
    (batches,) = [list(data.val_dataloader())]
    images, targets = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "targets"))
    randaugment = RandAugment(8, 8)
    losses = []
    for view in range(2):
        draws = draw(len(images), torch.Generator().manual_seed(mix(Stream.EVALUATION, view)))
        augmented = data.pipeline.normalise(randaugment(images, draws, 9))
        losses.append(float(F.cross_entropy(network(augmented), targets)))
    assert found == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-4


def test_the_scores_of_the_test_images_are_those_of_a_plain_loop() -> None:
    torch.manual_seed(3)
    data = ImageData("digits", eval_batch_size=100)
    network = CifarResNet(10, depth=8)
    scores = Scorer(data, "cpu", "32-true").test(network)
    batches = list(data.test_dataloader())
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(data.pipeline.normalise(batch.images)) for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    assert len(targets) == 360
    assert scores["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()))
    assert scores["nll"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-5)
    confidence, guess = logits.softmax(1).max(1)
    bins = (confidence * 15).long().clamp(max=14)
    gaps = [((guess == targets).float() - confidence)[bins == b].sum().abs() for b in range(15)]
    assert scores["ece"] == pytest.approx(float(sum(gaps)) / len(targets), abs=1e-5)
