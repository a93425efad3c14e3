"""Bands within which a whole line, not each point of it alone, lies in 95 % of honest runs.

Säilynoja, Bürkner & Vehtari 2022 (Statistics and Computing 32, 32): the pointwise level at which a simulated honest
sample stays inside everywhere with the wanted probability. Values that err together (a planet's bins) scatter as far as
that many independent ones: give the number of planets.
"""

from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import beta, binom

from ..base.products import Array
from ..sigma import PIT_CELLS

SHARE = 0.95
_SAMPLES = 2000
_SEED = 20251123


def quantile_band(gaussian: Array, planets: int) -> tuple[Array, Array]:
    """Where a quantile-quantile line lies as a whole: low and high at the unit Gaussian's quantiles `gaussian`."""
    at = np.asarray(ndtr(gaussian)) * planets + 0.5
    tail = _quantile_tail(tuple(at.tolist()), planets)
    return ndtri(beta.ppf(tail, at, planets + 1 - at)), ndtri(beta.ppf(1 - tail, at, planets + 1 - at))


def pit_band(planets: int) -> tuple[float, float]:
    """Shares between which all cells of a histogram of the probability integral transform lie together."""
    counts = np.random.default_rng(_SEED).multinomial(planets, np.full(PIT_CELLS, 1 / PIT_CELLS), _SAMPLES)
    tails = np.minimum(binom.cdf(counts, planets, 1 / PIT_CELLS), binom.sf(counts - 1, planets, 1 / PIT_CELLS))
    tail = float(np.quantile(tails.min(1), 1 - SHARE, method="lower"))
    every = np.arange(planets + 1)
    likely = np.minimum(binom.cdf(every, planets, 1 / PIT_CELLS), binom.sf(every - 1, planets, 1 / PIT_CELLS)) >= tail
    return float(every[likely][0]) / planets, float(every[likely][-1]) / planets


@lru_cache(maxsize=64)
def _quantile_tail(at: tuple[float, ...], planets: int) -> float:
    """Probability of each tail, pointwise, that leaves `SHARE` of honest lines inside at all places `at`.

    `at`: places in the ordered sample, from 0.5 to planets + 0.5, between which a line is interpolated.
    """
    ordered = np.sort(np.random.default_rng(_SEED).random((_SAMPLES, planets)), axis=1)
    places = np.clip(np.array(at) - 0.5, 0, planets - 1)
    below = np.floor(places).astype(int)
    share, above = places - below, np.minimum(below + 1, planets - 1)
    lines = (1 - share) * ordered[:, below] + share * ordered[:, above]
    cdf = beta.cdf(lines, np.array(at), planets + 1 - np.array(at))
    return float(np.quantile(np.minimum(cdf, 1 - cdf).min(1), 1 - SHARE, method="lower"))
