"""Randomness as a function of (seed, epoch, rank): a resumed run draws what an unbroken one draws."""

import hashlib
import os


def mix(*numbers: int) -> int:
    """Return a seed in [0, 2**63) that depends on every number and on their order."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def run_seed() -> int:
    """Return the seed of this run as `lightning.seed_everything` left it, on every rank; 0 where it was not called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
