"""Kinds of atmospheres: a mixture of factor analysers over normalised spectral shapes and their amplitudes.

Spectra of one kind (muted by clouds, rich in methane, ...) look alike, and their features are of a like size. One
Gaussian over all of them is wider than each kind. Kinds are found by expectation maximisation in the shapes' principal
directions beside the amplitude. Each is then a factor analyser over all bins (Ghahramani & Hinton 1996, CRG-TR-96-1)
whose mean moves with the amplitude. It is tied to what all kinds share, as if TIED spectra more said so.
"""

from dataclasses import dataclass

import numpy as np

from ..base.products import Array
from ..base.schema import PriorConfig

DIRECTIONS = 10  # principal directions of the shapes that kinds are told apart in
SPECTRA_A_KIND = 60  # fewer training spectra are not divided further
TIED = 7.0
TOGETHER = 0.2  # of every spectrum counts for a kind of all together, for spectra of no kind
WIDER = 2.0  # times as wide is that kind as the training spectra together are
LEAST_SD = 0.1  # of ln amplitude
LEAST_REST = 1e-6  # variance of a normalised shape: a tenth of a ppm for features of 100 ppm


@dataclass(frozen=True)
class Kinds:
    """K kinds of spectra  L + s (mean + d slope + loadings z + sqrt(rest) r),  with ln s = expected + middle + d.

    d ~ N(0, sd^2), z ~ N(0, 1), r a stationary process; `expected` by the scale height. Bin 0 is FGS1.
    """

    weight: Array  # (K,) share of the spectra
    mean: Array  # (K, 283) normalised shape
    slope: Array  # (K, 283) its change for each unit of ln s
    loadings: Array  # (K, 283, Q)
    rest: Array  # (K,) variance
    middle: Array  # (K,) of ln s, less what is expected
    sd: Array  # (K,) of ln s


def learn_kinds(shapes: Array, excess: Array, weight: Array, mean: Array, cov: Array, config: PriorConfig) -> Kinds:
    """Learn from training spectra.

    Args:
        shapes: normalised shapes, (N, 283).
        excess: ln amplitude less what the scale height predicts, (N,).
        weight: what each spectrum counts for, (N,).
        mean: of all shapes, (283,).
        cov: their covariance (283, 283), which says how FGS1 follows the AIRS bins: a kind alone is too few to tell.
        config: how many kinds at most, never more than one for each SPECTRA_A_KIND spectra, and factors of each.
    """
    airs = shapes[:, 1:]
    share = weight[:, None] * _memberships(airs, excess, weight, min(config.kinds, len(shapes) // SPECTRA_A_KIND))
    size = share.sum(0)
    middle = share.T @ excess / size
    away = excess[:, None] - middle
    apart = slice(0, max(len(size) - 1, 1))  # without all together
    squares = (share * away**2).sum(0)
    squares += TIED * squares[apart].sum() / size[apart].sum()
    centre = share.T @ airs / size[:, None]
    slope = (share * away).T @ airs / (squares[:, None] + LEAST_REST)  # the weighted mean of `away` is 0
    scatter = np.empty((len(size), airs.shape[1], airs.shape[1]))
    for k in range(len(size)):
        left = np.sqrt(share[:, [k]]) * (airs - centre[k] - away[:, [k]] * slope[k])
        scatter[k] = left.T @ left
    tied = TIED * scatter[apart].sum(0) / size[apart].sum()
    found = [
        _factors((own + tied) / (members + TIED), config.factors) for own, members in zip(scatter, size, strict=True)
    ]
    follows = np.linalg.solve(cov[1:, 1:], cov[1:, 0])
    own = np.sqrt(max(cov[0, 0] - cov[0, 1:] @ follows, LEAST_REST))  # of FGS1
    width = np.ones(len(size))
    width[apart.stop :] = WIDER
    return Kinds(
        weight=size / size.sum(),
        mean=np.column_stack([mean[0] + (centre - mean[1:]) @ follows, centre]),
        slope=np.column_stack([slope @ follows, slope]),
        loadings=np.stack([w * _with_fgs1(one, follows, own) for w, (one, _) in zip(width, found, strict=True)]),
        rest=width**2 * [rest for _, rest in found],
        middle=middle,
        sd=width * np.maximum(np.sqrt(squares / (size + TIED)), LEAST_SD),
    )


def _memberships(airs: Array, excess: Array, weight: Array, count: int) -> Array:
    """How far each spectrum is of each of `count` kinds, and of that of all together, (N, K)."""
    together = np.ones((len(airs), 1))
    if count < 2:
        return together
    from sklearn.mixture import GaussianMixture  # takes a second to import, and only who learns a prior needs it

    centred = airs - weight @ airs / weight.sum()
    values, vectors = np.linalg.eigh((weight[:, None] * centred).T @ centred / weight.sum())
    scores = centred @ vectors[:, : -DIRECTIONS - 1 : -1] / np.sqrt(values[-1])
    found = GaussianMixture(count, n_init=2, reg_covar=1e-3, random_state=0)
    apart = found.fit(features := np.column_stack([scores, excess])).predict_proba(features)
    return np.column_stack([(1 - TOGETHER) * apart, TOGETHER * together])


def _factors(cov: Array, count: int) -> tuple[Array, float]:
    """Loadings (282, count) of a covariance, and the variance that they leave in each bin (Tipping & Bishop 1999)."""
    values, vectors = np.linalg.eigh(cov)
    rest = max(float(values[:-count].mean()), LEAST_REST)
    return vectors[:, -count:] * np.sqrt(np.maximum(values[-count:] - rest, 0)), rest


def _with_fgs1(loadings: Array, follows: Array, own: float) -> Array:
    """Loadings of all 283 bins, (283, count + 1): FGS1 follows the AIRS bins, and has a scatter of its own."""
    whole = np.zeros((len(loadings) + 1, loadings.shape[1] + 1))
    whole[1:, :-1], whole[0, :-1], whole[0, -1] = loadings, follows @ loadings, own
    return whole
