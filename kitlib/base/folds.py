"""Which planets are learnt from and which judge: one rule for sigma calibration, fusion model and benchmarks."""

import numpy as np
from numpy.typing import NDArray


def fold_of(planets: int, folds: int, seed: int) -> NDArray[np.integer]:
    """The fold of each planet, (P,), sizes equal within one, drawn by the seed. ValueError for fewer than 2 folds."""
    if not 2 <= folds <= planets:
        raise ValueError(f"{folds} folds of {planets} planets: give 2 to {planets}")
    return np.random.default_rng(seed).permutation(planets) % folds


def split(planets: int, share: float, seed: int) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Indices to train on and to judge on, at least one of each; drawn by the seed. ValueError below 2 planets."""
    if planets < 2:
        raise ValueError(f"{planets} planets cannot be divided into a part to train on and one to judge on: add some")
    order = np.random.default_rng(seed).permutation(planets)
    held = min(max(1, round(share * planets)), planets - 1)
    return np.sort(order[held:]), np.sort(order[:held])
