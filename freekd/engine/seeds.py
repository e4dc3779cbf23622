"""Random numbers that depend on the run's seed and a place in the run alone."""

import contextlib
import random
from typing import Iterator, NamedTuple

import numpy as np
import torch


class Draw(NamedTuple):
    """One image to load: its index in the dataset and the seed of its augmentations."""

    index: int
    seed: int


def derive_seed(*numbers: int) -> int:
    """A 32-bit seed that depends on all of ``numbers``, as independent as a hash makes it.

    >>> derive_seed(0, 1) != derive_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence([int(n) for n in numbers]).generate_state(1)[0])


@contextlib.contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Seed random, numpy and torch (CPU) for the block, then put their states back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
