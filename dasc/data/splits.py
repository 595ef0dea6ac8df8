"""Fixed, stratified parts of a data set."""

import torch
from torch import Tensor


def stratified_split(targets: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Carve a part off that has every class in its share.

    Args:
        targets: int64 (N,), class numbers.
        share: Size of the part, in (0, 1).
        seed: The same seed carves the same part.

    Returns:
        The indices of the rest and of the part, int64, each in rising order; together they are 0..N-1.
    """
    from sklearn.model_selection import train_test_split

    rest, part = train_test_split(range(len(targets)), test_size=share, stratify=targets.numpy(), random_state=seed)
    return torch.tensor(sorted(rest)), torch.tensor(sorted(part))
