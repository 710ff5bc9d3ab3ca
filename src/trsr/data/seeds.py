"""Randomness from one experiment seed: every purpose gets a stream of its own, so none disturbs another."""

from hashlib import blake2b

import numpy as np


def seed_key(seed: int, purpose: str) -> bytes:
    """32 bytes that stand for this seed used for this purpose; any int is a valid seed."""
    return blake2b(f"{seed}/{purpose}".encode(), digest_size=32).digest()


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A numpy generator for one purpose of the experiment seed."""
    return np.random.default_rng(int.from_bytes(seed_key(seed, purpose), "big"))
