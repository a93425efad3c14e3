"""The score taken apart: what errors cost, and what a sigma of the wrong size costs on top.

Errors being what they are, one factor on sigma is best. With weights w = `metric.score_per_nat` and z = error / sigma

    f^2 = sum(w z^2) / sum(w),        loss of a cell = w (z^2 / 2 (1 - 1 / f^2) - ln f),

the loss summed over the cells that share a factor is >= 0, and 0 only for f = 1. AIRS has one factor a planet, FGS1,
with its single bin, one for all planets. Score = accuracy part (what sigma times f would score) - loss by sigma.
Even an honest sigma loses something: a planet's bins err together, so that f scatters around 1.
"""

from dataclasses import dataclass

import numpy as np

from ..base.instruments import bin_weights
from ..base.products import Array
from .metric import gll_per_bin, score_per_nat

_DRAWS, _SEED = 64, 20251123


@dataclass(frozen=True)
class Decomposition:
    """The score of P planets in 283 bins, neither weighted nor clipped: `score` = `accuracy` - `loss`."""

    score: Array  # (P, 283) s of `metric.gll_per_bin`
    accuracy: Array  # (P, 283) s with sigma times the best factor
    factor: Array  # (P, 2) of FGS1, the same for all planets, and of the planet's AIRS bins

    @property
    def loss(self) -> Array:
        """(P, 283) what the size of sigma costs; negative in single cells, never in sum over a factor's cells."""
        return self.accuracy - self.score


def decompose(mu: Array, sigma: Array, truth: Array, naive_mean: float, naive_sigma: float) -> Decomposition:
    """Decomposition of a prediction; arguments and errors as `metric.gll_per_bin`."""
    score = gll_per_bin(mu, sigma, truth, naive_mean, naive_sigma)
    factor = _best_factors((truth - mu) / sigma, score_per_nat(truth, naive_mean, naive_sigma))
    accuracy = gll_per_bin(mu, sigma * _spread(factor), truth, naive_mean, naive_sigma)
    return Decomposition(score, accuracy, factor)


def bin_factors(mu: Array, sigma: Array, truth: Array, naive_mean: float, naive_sigma: float) -> Array:
    """(283,) the one factor on sigma that would have been best in each bin, for all planets together."""
    weight = score_per_nat(truth, naive_mean, naive_sigma)
    return _root((weight * ((truth - mu) / sigma) ** 2).sum(0), weight.sum(0))


def honest_loss(sigma: Array, cov: Array, truth: Array, naive_mean: float, naive_sigma: float) -> tuple[float, float]:
    """Mean loss by sigma in FGS1 and in AIRS that errors drawn from `cov` (P, 283, 283) would give: what luck costs.

    `truth` sets the weights alone. Drawn with a fixed seed: the same arguments give the same figures.
    """
    rng = np.random.default_rng(_SEED)
    weight = score_per_nat(truth, naive_mean, naive_sigma)
    z = np.empty((_DRAWS, *weight.shape))
    for planet, own in enumerate(np.asarray(cov)):
        diagonal = np.diag(own).astype(np.float64)
        # float32's rounding can leave an eigenvalue below zero; a ten-thousandth of the variance lifts it
        root = np.linalg.cholesky(own.astype(np.float64) + 1e-4 * np.diag(diagonal))
        z[:, planet] = rng.standard_normal((_DRAWS, len(diagonal))) @ root.T / sigma[planet]
    mean = np.zeros(2)
    for drawn in z:
        factor = _spread(_best_factors(drawn, weight))
        loss = weight * (drawn**2 / 2 * (1 - factor**-2) - np.log(factor))
        mean += np.array([loss[:, 0].mean(), loss[:, 1:].mean()]) / _DRAWS
    return float(mean[0]), float(mean[1])


def weighted(cells: Array) -> Array:
    """(P, 3) total by the metric's weights, FGS1 and mean of AIRS of (P, 283) cells."""
    weights = bin_weights()
    return np.stack([cells @ weights / weights.sum(), cells[:, 0], cells[:, 1:].mean(1)], axis=1)


def _best_factors(z: Array, weight: Array) -> Array:
    power = weight * z**2
    fgs1 = np.full(len(z), _root(power[:, 0].sum(), weight[:, 0].sum()))
    return np.stack([fgs1, _root(power[:, 1:].sum(1), weight[:, 1:].sum(1))], axis=1)


def _root(power: Array, weight: Array) -> Array:
    return np.sqrt(np.maximum(power / weight, 1e-12))  # no error at all: a factor of 0 would score infinitely well


def _spread(factor: Array) -> Array:
    return np.concatenate([factor[:, :1], np.repeat(factor[:, 1:], len(bin_weights()) - 1, axis=1)], axis=1)
