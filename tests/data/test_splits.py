from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dasc.data import DATASETS, ImageSet, stratified_split


def digits() -> tuple[ImageSet, ImageSet]:
    """The digits without the test images, and the test images."""
    everything = DATASETS["digits"].read(Path(), False).train
    assert isinstance(everything, ImageSet)
    rest, test = stratified_split(everything.targets, 0.2, seed=0)
    return everything.subset(rest), everything.subset(test)


def shuffled(counts: list[int]) -> Tensor:
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    ("counts", "share", "part"),
    [([50, 30, 20], 0.2, [10, 6, 4]), ([50, 30, 20], 0.1, [5, 3, 2]), ([40, 40], 0.25, [10, 10])],
)
def test_every_class_is_carved_in_its_share(counts: list[int], share: float, part: list[int]) -> None:
    targets = shuffled(counts)
    rest, carved = stratified_split(targets, share, seed=0)
    assert [int((targets[carved] == k).sum()) for k in range(len(counts))] == part
    assert [int((targets[rest] == k).sum()) for k in range(len(counts))] == [
        n - p for n, p in zip(counts, part, strict=True)
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_have_every_class_within_one_image_of_its_share_in_every_split(seed: int) -> None:
    train, test = digits()
    rest, carved = stratified_split(train.targets, 0.2, seed)
    whole = torch.bincount(torch.cat([train.targets, test.targets]))
    assert (torch.bincount(test.targets) - whole * 0.2).abs().max() < 1
    assert (torch.bincount(train.targets[carved]) - torch.bincount(train.targets) * 0.2).abs().max() < 1
    assert len(rest) + len(carved) == len(train.targets)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_two_parts_together_are_every_index_once_and_each_is_in_order(seed: int) -> None:
    rest, carved = stratified_split(shuffled([33, 17, 11]), 0.3, seed)
    assert sorted([*rest.tolist(), *carved.tolist()]) == list(range(61))
    assert rest.tolist() == sorted(rest.tolist())
    assert carved.tolist() == sorted(carved.tolist())
    assert rest.dtype == carved.dtype == torch.int64


def test_a_split_depends_on_its_seed_and_on_no_other_randomness() -> None:
    targets = shuffled([60, 40])
    torch.manual_seed(1)
    np.random.seed(1)
    first = stratified_split(targets, 0.2, seed=3)[1].tolist()
    torch.manual_seed(2)
    np.random.seed(2)
    assert stratified_split(targets, 0.2, seed=3)[1].tolist() == first
    assert stratified_split(targets, 0.2, seed=4)[1].tolist() != first
