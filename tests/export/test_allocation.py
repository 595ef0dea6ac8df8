"""The memory of tensors is bounded before it is allocated."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dasc.export.allocation import AllocationError, AllocationLimit
from tests.support.peak import peak_bytes

MIB = 2**20


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(MIB),
        lambda: torch.zeros(512, 2048),
        lambda: torch.randn(MIB, generator=torch.Generator()),
        lambda: torch.arange(MIB),
        lambda: torch.ones(1024, 1).repeat(1, 1024),
        lambda: torch.ones(1024, 1) + torch.ones(1, 1024),
        lambda: nn.Linear(1024, 1024, bias=False).weight,
    ],
)
def test_a_large_tensor_is_refused_before_its_memory_is_taken(make: Callable[[], Tensor]) -> None:
    with AllocationLimit(9 * MIB):
        assert make().numel() == MIB

    def refused() -> None:
        with AllocationLimit(3 * MIB), pytest.raises(AllocationError, match="at most 3145728 bytes"):
            make()

    refused()
    assert peak_bytes(refused) < 2 * MIB


def test_tensors_count_as_long_as_they_live() -> None:
    with AllocationLimit(2 * MIB):
        for _ in range(5):
            kept = torch.zeros(MIB // 4)
        views = [kept.view(512, 512).t() for _ in range(9)]
        assert len(views) == 9
        with pytest.raises(AllocationError):
            [torch.zeros(MIB // 4) for _ in range(3)]


def test_tensors_on_the_meta_device_count() -> None:
    with torch.device("meta"), AllocationLimit(MIB):
        nn.Linear(10, 10)
        with pytest.raises(AllocationError):
            nn.Linear(10**6, 10**6)
