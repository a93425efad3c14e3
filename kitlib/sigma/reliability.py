"""Is sigma right? Numbers only (figures are the report's). Argument order: mu, sigma, truth; or mean, cov, truth.

Bin-wise z-scores alone can look right while level and shape are both wrong, each in its own direction: judge a
calibrated covariance by `reliability_by_part`. Judge a calibrator only on planets that it was not fitted on
(`Calibrator.unseen`, `sigma.cross_calibrate`).
"""

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ..base.products import Array
from ..spectra import airs_variances

COVERAGE = (0.50, 0.68, 0.90, 0.95)  # central intervals
QUANTILES = (0.01, 0.05, 0.16, 0.25, 0.50, 0.75, 0.84, 0.95, 0.99)
PIT_CELLS = 10
QUANTILE_PAIRS = 99


def summarise(z: Array) -> dict[str, float | int | dict[str, float]]:
    """Spread, bias, coverage and quantiles of z-scores of any shape; NaN are left out.

    Returns:
        count; mean; std (about the mean); rms (about zero: 1 when errors including bias are as sigma says);
        robust (interquartile range / 1.349: blind to outliers); coverage {"0.68": fraction of |z| within the central
        interval, ...}; quantiles {"0.16": ...} of z, to set against a unit Gaussian's.

    Raises:
        ValueError: no finite z-score.
    """
    flat = np.asarray(z, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        raise ValueError("no finite z-score to summarise")
    low, high = np.quantile(flat, [0.25, 0.75])
    return {
        "count": int(flat.size),
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "rms": float(np.sqrt((flat**2).mean())),
        "robust": float((high - low) / (ndtri(0.75) - ndtri(0.25))),
        "coverage": {f"{p:.2f}": float((np.abs(flat) <= ndtri(0.5 + p / 2)).mean()) for p in COVERAGE},
        "quantiles": {f"{p:.2f}": float(q) for p, q in zip(QUANTILES, np.quantile(flat, QUANTILES), strict=True)},
    }


def pit_histogram(z: Array) -> Array:
    """Probability integral transform: share of z = (truth - mu) / sigma of any shape in each tenth of a unit Gaussian.

    (PIT_CELLS,), all 1 / PIT_CELLS where sigma is right: high ends say that sigma is too small, a slope that mu is
    biased. NaN are left out; all of them NaN gives NaN.
    """
    flat = np.asarray(z, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    cells = np.minimum((ndtr(flat) * PIT_CELLS).astype(int), PIT_CELLS - 1)
    return np.bincount(cells, minlength=PIT_CELLS) / (len(flat) or np.nan)


def quantile_pairs(z: Array) -> tuple[Array, Array]:
    """Quantile-quantile plot: quantiles of a unit Gaussian and of z, at most QUANTILE_PAIRS of them, NaN left out."""
    flat = np.asarray(z, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    count = min(len(flat), QUANTILE_PAIRS)
    levels = (np.arange(count) + 0.5) / max(count, 1)
    return ndtri(levels), np.quantile(flat, levels) if count else levels


def reliability(mu: Array, sigma: Array, truth: Array) -> dict[str, dict[str, Any]]:
    """Reliability of a prediction, (P, 283) each: {"fgs1": summary of bin 0, "airs": summary of bins 1..282 pooled}."""
    z = (np.asarray(truth, np.float64) - mu) / sigma
    return {"fgs1": summarise(z[:, 0]), "airs": summarise(z[:, 1:])}


def level_shape_z(mean: Array, cov: Array, truth: Array) -> dict[str, Array]:
    """z-scores by part from full covariances.

    Args:
        mean, truth: (P, 283); cov: (P, 283, 283), e.g. `calibrator.calibrated_covariance`.

    Returns:
        {"fgs1": (P,), "level": (P,) of the mean over AIRS bins, "shape": (P, 282) of the bins minus their mean}.
    """
    error = np.asarray(truth, np.float64) - mean
    level_var, _, shape_var = airs_variances(cov)
    level_error = error[:, 1:].mean(axis=1)
    # a shape variance that rounding of float32 has left at or below zero has no z-score
    shape_var = np.where(shape_var > 0, shape_var, np.nan)
    return {
        "fgs1": error[:, 0] / np.sqrt(np.asarray(cov)[:, 0, 0].astype(np.float64)),
        "level": level_error / np.sqrt(level_var),
        "shape": (error[:, 1:] - level_error[:, None]) / np.sqrt(shape_var),
    }


def reliability_by_part(mean: Array, cov: Array, truth: Array) -> dict[str, dict[str, Any]]:
    """`summarise` of each of `level_shape_z`'s parts: {"fgs1": ..., "level": ..., "shape": ...}."""
    return {name: summarise(z) for name, z in level_shape_z(mean, cov, truth).items()}
