"""The competition's score, a normalised Gaussian log-likelihood (GLL): its one definition in this project.

For planet p and bin b with truth y and prediction N(mu, sigma):

    s[p, b] = (lnN(y | mu, sigma) - lnN(y | naive)) / (lnN(y | y, sigma_true) - lnN(y | naive))

so that the population's mean and spread score 0 and the truth with sigma_true scores 1. The score is the weighted
average of s over all planets and bins (FGS1 57.846, each AIRS bin 1), clipped to [0, 1] as a whole.
Source: the competition's metric (pages and published code of the Ariel Data Challenge 2025).

Argument order everywhere in the project: mu, sigma, truth.
"""

from dataclasses import dataclass

import numpy as np

from ..base.instruments import N_AIRS_BINS, N_BINS, SIGMA_TRUE_AIRS, SIGMA_TRUE_FGS1, bin_weights
from ..base.products import Array

SIGMA_FLOOR = 1e-15  # the official clip of a submitted sigma
SIGMA_TRUE = np.concatenate([[SIGMA_TRUE_FGS1], np.full(N_AIRS_BINS, SIGMA_TRUE_AIRS)])  # (283,)


@dataclass(frozen=True)
class Score:
    """A competition score and its two parts."""

    total: float  # official: weighted mean over planets and bins, clipped to [0, 1]
    fgs1: float  # mean of s over planets in bin 0, not clipped
    airs: float  # mean of s over planets and bins 1..282, not clipped


def naive_statistics(train_depth: Array) -> tuple[float, float]:
    """Mean and standard deviation of all training targets together.

    The official score is called with `np.mean` and `np.std` of the whole (planets x 283) table: population standard
    deviation (ddof 0), FGS1 and AIRS bins alike.

    Args:
        train_depth: (P, 283) true depths of the training planets.

    Raises:
        ValueError: a value is not a finite number, or the table is empty.
    """
    depth = _numbers("train_depth", train_depth)
    if depth.size == 0:
        raise ValueError("train_depth is empty: the naive statistics need at least one training planet")
    return float(depth.mean()), float(depth.std())


def gll_per_bin(mu: Array, sigma: Array, truth: Array, naive_mean: float, naive_sigma: float) -> Array:
    """Normalised log-likelihood s of each planet and bin, neither weighted nor clipped.

    Args:
        mu, sigma, truth: (P, 283) predicted depth, its standard deviation, true depth. sigma is clipped below at 1e-15.
        naive_mean, naive_sigma: `naive_statistics` of the training targets.

    Returns:
        (P, 283) float64.

    Raises:
        ValueError: wrong shape, a value that is not a finite number, a negative mu or sigma, or a naive_sigma so small
            that the normalisation has no meaning.
    """
    mu, sigma, truth = (_numbers(n, v) for n, v in (("mu", mu), ("sigma", sigma), ("truth", truth)))
    for name, values in (("mu", mu), ("sigma", sigma), ("truth", truth)):
        if values.ndim != 2 or values.shape[1] != N_BINS or values.shape != truth.shape:
            raise ValueError(f"{name} has shape {values.shape}; mu, sigma and truth must be (planets, {N_BINS}) alike")
    for name, values in (("mu", mu), ("sigma", sigma)):
        if values.size and values.min() < 0:
            planet, column = np.unravel_index(values.argmin(), values.shape)
            raise ValueError(f"{name} is negative ({values.min():.3g}) in row {planet}, bin {column}: not allowed")
    weight = score_per_nat(truth, naive_mean, naive_sigma)
    sigma = np.maximum(sigma, SIGMA_FLOOR)
    predicted = -0.5 * ((truth - mu) / sigma) ** 2 - np.log(sigma)
    return (predicted - _naive_log_density(truth, naive_mean, naive_sigma)) * weight


def score_per_nat(truth: Array, naive_mean: float, naive_sigma: float) -> Array:
    """What one unit of lnN(truth | mu, sigma) adds to s, (P, 283): the inverse of the metric's denominator.

    Raises ValueError where naive_sigma is so small that the normalisation has no meaning.
    """
    if not (np.isfinite([naive_mean, naive_sigma]).all() and naive_sigma > SIGMA_TRUE_AIRS):
        raise ValueError(
            f"naive mean and sigma are ({naive_mean}, {naive_sigma}): the score needs a finite naive sigma above "
            f"{SIGMA_TRUE_AIRS:g}. Take both from the training targets of more than one planet."
        )
    return 1.0 / (-np.log(SIGMA_TRUE) - _naive_log_density(truth, naive_mean, naive_sigma))


def _naive_log_density(truth: Array, naive_mean: float, naive_sigma: float) -> Array:
    # ln(2 pi)/2 is left out here and above: it cancels in both of the metric's differences
    return -0.5 * ((truth - naive_mean) / naive_sigma) ** 2 - np.log(naive_sigma)


def gll_score(mu: Array, sigma: Array, truth: Array, naive_mean: float, naive_sigma: float) -> Score:
    """The official score of a prediction; arguments and errors as `gll_per_bin`, and at least one planet."""
    per_bin = gll_per_bin(mu, sigma, truth, naive_mean, naive_sigma)
    if len(per_bin) == 0:
        raise ValueError("no planet to score")
    per_planet = per_bin @ bin_weights() / bin_weights().sum()
    return Score(
        total=float(np.clip(per_planet.mean(), 0.0, 1.0)),
        fgs1=float(per_bin[:, 0].mean()),
        airs=float(per_bin[:, 1:].mean()),
    )


def _numbers(name: str, values: Array) -> Array:
    """`values` as float64; refuses text, complex, NaN and infinity, naming the first bad element."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {array.dtype}, not numbers")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(f"{name} holds {array[~finite][0]} at index {tuple(map(int, np.argwhere(~finite)[0]))}")
    return array
