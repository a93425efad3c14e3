"""What came out of what was put in: amplitude of a band, slope of recovered on injected, leakage of a nuisance.

The same planet is answered with and without a signal. The difference holds no photon noise, hence it is compared with
the error bar that the answer claims: a signal is detected where it exceeds three of those.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.products import Array
from ..spectra import Likelihood, airs_variances

DETECTED = 3.0  # sigma
FLAT_PRECISION = 0.1**-2.0  # of a depth: a prior so wide (10 % of the star's light) that it shrinks nothing


@dataclass(frozen=True)
class Answer:
    """A planet's spectrum as the pipeline answers it, and on the way there."""

    mu: Array  # (283,) calibrated answer
    cov: Array  # (283, 283) its covariance
    physics: Array  # (283,) posterior mean of the physical fit, before any network or calibration
    likelihood: Array  # (283,) what the light curves alone say, without a prior over spectra


@dataclass(frozen=True)
class Line:
    """Recovered on injected amplitude, a line through the origin."""

    slope: float | None  # None where nothing but zeros was injected
    error: float | None  # standard error of the mean over planets; None for a single one


def without_prior(likelihood: Likelihood) -> Array:
    """Depths (B,) that fit best, averaged over the hypotheses by their evidence; 0 where the data say nothing."""
    logs, found, centre = [], [], likelihood.centre
    for one in likelihood.hypotheses:
        precision, information = likelihood.marginal(one)
        at_zero = information + precision @ centre
        offset = (information + at_zero) @ centre / 2
        precision[np.diag_indices_from(precision)] += FLAT_PRECISION
        found.append(np.linalg.solve(precision, at_zero))
        logs.append(one.log_weight + at_zero @ found[-1] / 2 - offset - np.linalg.slogdet(precision)[1] / 2)
    weights = np.exp(np.array(logs) - max(logs))
    return weights / weights.sum() @ np.stack(found)


def band_weights(profile: Array) -> Array:
    """Weights (283,) whose product with a spectrum is the least-squares amplitude of a band, whatever the AIRS level.

    `profile` (283,): the band, 0 in FGS1 (which gets no weight). Raises ValueError for one that is constant in AIRS.
    """
    shape = np.concatenate([[0.0], profile[1:] - profile[1:].mean()])
    if not shape.any():
        raise ValueError("a band that is the same in every AIRS bin has no amplitude")
    return shape / (shape @ shape)


def band_point(profile: Array, before: Answer, after: Answer) -> dict[str, float]:
    """Amplitude of a band in the difference of two answers, ppm: recovered, its sigma, and what the parts recover.

    `sigma` is that of the answer with the signal; one that the planet's own error bars claim, not the difference's.
    """
    weights = band_weights(profile)
    return {
        "recovered": 1e6 * float(weights @ (after.mu - before.mu)),
        "sigma": 1e6 * float(np.sqrt(weights @ after.cov @ weights)),
        "physics": 1e6 * float(weights @ (after.physics - before.physics)),
        "likelihood": 1e6 * float(weights @ (after.likelihood - before.likelihood)),
    }


def leakage_point(before: Answer, after: Answer) -> dict[str, float]:
    """What a nuisance did to the spectrum, ppm of depth and in the untouched answer's sigmas.

    fgs1; level: mean of AIRS; shape: rms of the AIRS bins around it; worst_bin: the largest of their
    changes. sigma_ratio: median sigma over AIRS with the nuisance over that without.
    """
    change, sigma = after.mu - before.mu, np.sqrt(np.diag(before.cov))
    level_var, _, shape_var = (part[0] for part in airs_variances(before.cov[None]))
    level = change[1:].mean()
    shape = change[1:] - level
    shape_sigma = np.sqrt(np.maximum(shape_var, 1e-30))
    worst = int(np.argmax(np.abs(shape)))
    found = {"fgs1": change[0], "level": level, "shape": np.sqrt((shape**2).mean()), "worst_bin": abs(shape[worst])}
    sigmas = {
        "fgs1": change[0] / sigma[0],
        "level": level / np.sqrt(level_var),
        "shape": np.sqrt(((shape / shape_sigma) ** 2).mean()),
        "worst_bin": abs(shape[worst]) / shape_sigma[worst],
    }
    after_sigma = np.sqrt(np.diag(after.cov))
    point = {name: 1e6 * float(value) for name, value in found.items()}
    point |= {f"{name}_sigma": float(value) for name, value in sigmas.items()}
    return point | {"sigma_ratio": float(np.median(after_sigma[1:] / sigma[1:]))}


def regression(injected: Array, recovered: Array, planet: NDArray[np.int64]) -> Line:
    """Mean over planets of the slopes of recovered on injected (n,) through the origin, each by least squares.

    A planet's points share its noise and its prior: planets, not points, are what scatters. Points at 0 say nothing.
    """
    slopes = []
    for one in np.unique(planet):
        x, y = injected[planet == one], recovered[planet == one]
        if x.any():
            slopes.append((x @ y) / (x @ x))
    if not slopes:
        return Line(None, None)
    error = float(np.std(slopes, ddof=1) / np.sqrt(len(slopes))) if len(slopes) > 1 else None
    return Line(float(np.mean(slopes)), error)


def _column(points: Sequence[dict[str, Any]], name: str) -> Array:
    return np.array([point[name] for point in points], np.float64)


def _lines(points: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    injected, planet = _column(points, "injected"), np.array([point["planet_id"] for point in points])
    return {name: asdict(regression(injected, _column(points, name), planet)) for name in names}


def band_summary(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summary of one band's points (`band_point`, with planet_id and injected), by amplitude where that says more.

    Slopes of the answer, the physical posterior and the likelihood; then, for each amplitude, mean bias (recovered
    minus injected, ppm and in sigmas), median sigma and the rate of detections at `DETECTED` sigma.
    """
    ladder = []
    for amplitude in sorted({point["injected"] for point in points}):
        some = [point for point in points if point["injected"] == amplitude]
        recovered, sigma = _column(some, "recovered"), _column(some, "sigma")
        ladder.append(
            {
                "injected": amplitude,
                "recovered": float(recovered.mean()),
                "bias": float((recovered - amplitude).mean()),
                "bias_sigma": float(((recovered - amplitude) / sigma).mean()),
                "sigma": float(np.median(sigma)),
                "detected": float((np.abs(recovered) > DETECTED * sigma).mean()),
            }
        )
    slopes = _lines(points, ("recovered", "physics", "likelihood"))
    return {"planets": len({point["planet_id"] for point in points}), "slopes": slopes, "ladder": ladder}


def leakage_summary(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summary of one nuisance's points (`leakage_point`, with planet_id and injected).

    `slopes`: ppm of depth per unit injected; `ladder`: size of the leakage in sigmas at each amplitude, rms and median
    over planets: where the rms is far larger, few planets are hit hard.
    """
    parts = ("fgs1", "level", "shape", "worst_bin")
    ladder = []
    for amplitude in sorted({point["injected"] for point in points}):
        some = [point for point in points if point["injected"] == amplitude]
        size = {f"{part}_sigma": np.abs(_column(some, f"{part}_sigma")) for part in parts}
        sigmas = {name: float(np.sqrt((values**2).mean())) for name, values in size.items()}
        sigmas |= {f"{name}_median": float(np.median(values)) for name, values in size.items()}
        sigmas["sigma_ratio"] = float(_column(some, "sigma_ratio").mean())
        ladder.append({"injected": amplitude, **sigmas})
    slopes = _lines(points, parts)
    return {"planets": len({point["planet_id"] for point in points}), "slopes": slopes, "ladder": ladder}
