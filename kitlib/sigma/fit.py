"""Sigma calibration: fit on held-out planets -> frozen calibrator (JSON) -> apply.

`calibrator.py` says what the numbers do; here they are fitted to the competition's score: at most fifteen, under weak
priors. Reliability of the result: `reliability.py`.

The score sees only the total variance of each bin. Its split into level and shape is fixed by a tie-breaker: the
log-likelihoods of the level and of the shape, each by its own calibrated variance, enter with three tenths of their
weight (without them the shape's factor scatters three times as much between campaigns; the score itself is unmoved).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..base.folds import fold_of
from ..base.instruments import N_BINS, PPM, bin_weights
from ..base.products import Array, Posterior, Prediction, Spectra
from ..spectra import airs_variances
from .calibrator import (
    ACTS_ON,
    MIN_SIGMA,
    QUALITY,
    Calibrator,
    Parts,
    apply,
    calibrated_moments,
    quality_factors,
    take_apart,
    unusable,
)
from .metric import naive_statistics, score_per_nat

MOST_COVERED = 8.0  # standard deviations that an error bar which covers a misfit may be wrong by, to be learnt from
PART_WEIGHT = 0.3  # of the tie-breaker, beside the score
LEANING = 0.35  # times the priors' widths, around a calibrator that was fitted to other planets


def fit_calibrator(
    posterior: Posterior,
    truth: Spectra,
    naive: tuple[float, float] | None = None,
    around: Calibrator = Calibrator(),  # noqa: B008  (frozen)
) -> Calibrator:
    """Fit the calibration of `posterior` to the mean competition score against `truth`.

    The posteriors must be out of fold: their priors learnt from other planets. Maximised is the score (and the
    tie-breaker) minus 1 / (2 P) * sum over parameters of nat_i ((theta_i - theta0_i) / tau_i)^2, where nat_i is the
    score that one unit of log-likelihood of the parts that it acts on is worth: the prior of each parameter weighs as
    much as one Gaussian measurement of width tau_i beside P planets. tau: 0.25 for ln of the factors of FGS1 and
    level (narrower ones turn errors that are far too small into floors), 0.5 for that of the shape and for the chi2
    exponent, 0.3 for ln of the other factors, 30 ppm for floors, 0.002 for those relative to the depth, 0.001 for the
    scales of FGS1 and level, 0.1 for that of the shape. theta0 are the values of `around`: a calibrator of few
    planets leans on it, with a third of these widths where it is a fitted one (`LEANING`).

    Args:
        posterior: of P planets, uncalibrated; diagnostics `chi2_white`, `visits`, `missing_contact`, `gate` are used
            where present (NaN: neutral). Left out are planets without a fit of their own, and those whose error bars
            are to cover a misfit and do not: no factor serves them and the others.
        truth: their true spectra, same ids in the same order.
        naive: the metric's naive mean and sigma; None: those of `truth`.
        around: what holds before these planets are seen; by default nothing is changed.

    Raises:
        ValueError: other ids, no fitted planet, values that are not finite.
    """
    bad = posterior.planet_id[unusable(posterior)]
    if len(bad):
        raise ValueError(
            f"the posterior of planet {bad[0]} ({len(bad)} in all) is not finite or not positive: refit it"
        )
    if not np.array_equal(posterior.planet_id, truth.planet_id):
        raise ValueError("posterior and truth do not hold the same planets in the same order; align them by planet_id")
    use = ~posterior.is_population & ~(posterior.is_covered & _far_off(posterior, truth.depth))
    if not use.any():
        raise ValueError("no planet with a fit of its own to calibrate on: see the fallbacks in events.jsonl")
    fitted, depth = posterior.take(use), np.asarray(truth.depth, np.float64)
    start = Calibrator(
        chi2_reference=_chi2_reference(fitted),
        quality=tuple(name for name in QUALITY if name in fitted.diagnostics),
        fitted_on=tuple(map(int, fitted.planet_id)),
    )
    weight = score_per_nat(depth, *(naive or naive_statistics(depth)))[use] * bin_weights() / bin_weights().sum()
    parameters = _PARAMETERS if around == Calibrator() else tuple(p.narrowed(LEANING) for p in _PARAMETERS)
    centre = np.array([p.units(getattr(around, p.field)) for p in parameters])
    problem = _Problem(take_apart(fitted, start), depth[use], weight / use.sum(), centre, parameters)
    result = minimize(
        lambda u: problem.loss(u, start),
        [p.start(u) for p, u in zip(parameters, centre, strict=True)],
        jac=True,
        method="L-BFGS-B",
        bounds=[(p.least(u), p.high) for p, u in zip(parameters, centre, strict=True)],
        options={"maxiter": 500, "ftol": 1e-11, "gtol": 1e-8},
    )
    if not np.isfinite(result.fun):
        raise ValueError(f"the calibration did not converge: {result.message}")
    return problem.calibrator(start, result.x)


def cross_calibrate(
    posterior: Posterior, truth: Spectra, folds: int = 5, seed: int = 0, naive: tuple[float, float] | None = None
) -> Prediction:
    """Calibrate each planet by a calibrator fitted on the other folds: the honest figures of the planets of `truth`."""
    count = len(posterior.planet_id)
    naive = naive or naive_statistics(truth.depth)
    fold = fold_of(count, folds, seed)
    mu, sigma = np.empty((count, N_BINS)), np.empty((count, N_BINS))
    for held_out in range(folds):
        inside = fold != held_out
        spectra = Spectra(truth.planet_id[inside], truth.depth[inside])
        calibrator = fit_calibrator(posterior.take(inside), spectra, naive)
        calibrated = apply(calibrator, posterior.take(~inside))
        mu[~inside], sigma[~inside] = calibrated.mu, calibrated.sigma
    return Prediction(posterior.planet_id.copy(), mu, sigma)


def _far_off(posterior: Posterior, depth: Array) -> NDArray[np.bool_]:
    """(P,) planets whose FGS1 or level errs by more than `MOST_COVERED` of its sigma."""
    error, level_var = np.asarray(depth) - posterior.mean, airs_variances(posterior.cov)[0]
    z = np.stack([error[:, 0] / np.sqrt(posterior.cov[:, 0, 0]), error[:, 1:].mean(axis=1) / np.sqrt(level_var)])
    return (np.abs(z) > MOST_COVERED).any(axis=0)


def _chi2_reference(posterior: Posterior) -> float:
    chi2 = np.asarray(posterior.diagnostics.get("chi2_white", np.ones(len(posterior.planet_id))), np.float64)
    chi2 = chi2[np.isfinite(chi2) & (chi2 > 0) & ~posterior.is_covered]
    return float(np.median(chi2)) if chi2.size else 1.0


@dataclass(frozen=True)
class _Parameter:
    """One fitted number, in units u of its prior's width: ln(value) = u width, value = centre + u width, ..."""

    field: str
    kind: str  # log: a factor; variance: a floor, u = (value / width)^2; plain
    width: float
    low: float  # bounds in units of the width
    high: float
    fgs1: bool  # whether it acts on FGS1 / on AIRS: how much a nat of it is worth
    airs: bool
    centre: float = 0.0
    unit: float = 1.0  # of a floor's width

    def units(self, value: float) -> float:
        """The number u whose value this is."""
        if self.kind == "log":
            return math.log(value) / self.width
        return (value / self.width) ** 2 if self.kind == "variance" else (value - self.centre) / self.width

    def narrowed(self, by: float) -> "_Parameter":
        """The same with so many times its prior's width, and the bounds where they were."""
        units = by**2 if self.kind == "variance" else by
        return replace(self, width=by * self.width, low=self.low / units, high=self.high / units)

    def start(self, centre: float) -> float:
        return max(centre, 0.01) if self.kind == "variance" else centre

    def least(self, centre: float) -> float:
        """Lower bound; where floors are expected, not zero: the prior's density vanishes there."""
        return 1e-6 if self.kind == "variance" and centre > 0 else self.low

    def penalty(self, u: float, centre: float) -> tuple[float, float]:
        """Minus the log of the prior around `centre`, and its derivative: Gaussian, for floors a gamma density."""
        if self.kind != "variance":
            return 0.5 * (u - centre) ** 2, u - centre
        if centre == 0:
            return 0.5 * u, 0.5
        return 0.5 * (u - centre * math.log(u)), 0.5 * (1 - centre / u)

    @property
    def variance(self) -> float:
        """The variance (over the depth squared, for relative floors) that one unit u of a floor adds."""
        return (self.width * self.unit) ** 2

    def value(self, u: float) -> float:
        if self.kind == "log":
            return math.exp(u * self.width)
        return math.sqrt(u) * self.width if self.kind == "variance" else self.centre + u * self.width


_PARAMETERS = (
    _Parameter("factor_fgs1", "log", 0.25, -10, 10, True, False),
    _Parameter("factor_level", "log", 0.25, -10, 10, False, True),
    _Parameter("factor_shape", "log", 0.5, -5, 5, False, True),
    _Parameter("chi2_exponent", "plain", 0.5, 0, 4, True, True),  # what scatters more is never the surer
    _Parameter("two_visit_factor", "log", 0.3, -4, 4, True, True),
    _Parameter("missing_contact_factor", "log", 0.3, -4, 4, True, True),
    _Parameter("covered_factor", "log", 0.3, -4, 4, True, True),
    _Parameter("floor_fgs1_ppm", "variance", 30.0, 0, 100, True, False, unit=PPM),
    _Parameter("floor_level_ppm", "variance", 30.0, 0, 100, False, True, unit=PPM),
    _Parameter("floor_shape_ppm", "variance", 30.0, 0, 100, False, True, unit=PPM),
    _Parameter("relative_fgs1", "variance", 2e-3, 0, 100, True, False),
    _Parameter("relative_level", "variance", 2e-3, 0, 100, False, True),
    _Parameter("scale_fgs1", "plain", 1e-3, -50, 50, True, False, 1.0),
    _Parameter("scale_level", "plain", 1e-3, -50, 50, False, True, 1.0),
    _Parameter("scale_shape", "plain", 0.1, -8, 8, False, True, 1.0),
)


@dataclass(frozen=True)
class _Gaussian:
    """Weighted Gaussian log-density of one kind of error, with its derivatives."""

    score: float
    by_mean: Array
    by_variance: Array

    @classmethod
    def of(cls, error: Array, variance: Array, weight: Array) -> "_Gaussian":
        ratio = error**2 / variance
        score = -0.5 * (weight * (ratio + np.log(variance))).sum()
        return cls(score, weight * error / variance, 0.5 * weight * (ratio - 1.0) / variance)


@dataclass(frozen=True)
class _Problem:
    """The regularised score as a function of the parameters, with its gradient."""

    parts: Parts
    truth: Array  # (P, 283)
    weight: Array  # (P, 283) mean score per nat
    centre: Array  # (parameters,) of their priors, in units of their widths
    parameters: tuple[_Parameter, ...] = _PARAMETERS

    def calibrator(self, start: Calibrator, units: Array) -> Calibrator:
        """The calibrator of these numbers, the rest as in `start`."""
        values: dict[str, Any] = {p.field: p.value(float(u)) for p, u in zip(self.parameters, units, strict=True)}
        return replace(start, **values)

    def loss(self, units: Array, start: Calibrator) -> tuple[float, Array]:
        """Minus the score (up to a constant) plus the priors' penalty, and its gradient by `units`."""
        c = self.calibrator(start, units)
        score, slopes = self._score(c)
        nat_fgs1, nat_airs = self.weight[:, 0].sum(), self.weight[:, 1:].sum()
        share, penalty, gradient = 1 / len(self.truth), 0.0, np.empty(len(self.parameters))
        for index, (p, u, u0) in enumerate(zip(self.parameters, units.tolist(), self.centre.tolist(), strict=True)):
            nat = share * (p.fgs1 * nat_fgs1 + p.airs * nat_airs)
            unit = p.variance if p.kind == "variance" else p.width
            value, slope = p.penalty(u, u0)
            penalty += nat * value
            gradient[index] = nat * slope - slopes[p.field] * unit
        return penalty - score, gradient

    def _score(self, c: Calibrator) -> tuple[float, dict[str, float]]:
        """Score with tie-breaker, and its derivative by each value: by ln of factors, by variance of floors."""
        parts, factors = self.parts, quality_factors(self.parts, c)
        mu, variance = calibrated_moments(parts, c)
        error = self.truth - mu
        level_error = error[:, 1:].mean(axis=1)
        # twice the variance that each factor scales, which is also its derivative by the factor's logarithm
        fgs1_var = 2 * factors[:, 0] ** 2 * parts.fgs1_var
        level_var = 2 * factors[:, 1] ** 2 * parts.level_var
        shape_var = 2 * factors[:, 2:] ** 2 * parts.shape_var
        mixed = 2 * factors[:, 1:2] * factors[:, 2:] * parts.cross
        level_floor = (c.floor_level_ppm * PPM) ** 2 + (c.relative_level * parts.level) ** 2
        shape_floor = (c.floor_shape_ppm * PPM) ** 2
        small = MIN_SIGMA**2
        airs_weight = PART_WEIGHT * self.weight[:, 1:]
        bins = _Gaussian.of(error, variance, self.weight)
        level = _Gaussian.of(level_error, level_var / 2 + level_floor + small, airs_weight.sum(axis=1))
        shape = _Gaussian.of(error[:, 1:] - level_error[:, None], shape_var / 2 + shape_floor + small, airs_weight)
        airs_mean, airs_var = bins.by_mean[:, 1:], bins.by_variance[:, 1:]
        of_fgs1 = bins.by_variance[:, 0] * fgs1_var  # (P,)
        of_level = (airs_var * (level_var[:, None] + mixed)).sum(axis=1) + level.by_variance * level_var
        of_shape = (airs_var * (shape_var + mixed) + shape.by_variance * shape_var).sum(axis=1)
        by_part = np.stack([of_fgs1, of_level, of_shape]) @ parts.quality  # (3, 4)
        chi2, visits, contact, covered = (ACTS_ON * by_part.T).sum(axis=1)
        return bins.score + level.score + shape.score, {
            "factor_fgs1": of_fgs1.sum(),
            "factor_level": of_level.sum(),
            "factor_shape": of_shape.sum(),
            "chi2_exponent": chi2,
            "two_visit_factor": visits,
            "missing_contact_factor": contact,
            "covered_factor": covered,
            "floor_fgs1_ppm": bins.by_variance[:, 0].sum(),
            "floor_level_ppm": airs_var.sum() + level.by_variance.sum(),
            "floor_shape_ppm": airs_var.sum() + shape.by_variance.sum(),
            "relative_fgs1": bins.by_variance[:, 0] @ parts.fgs1**2,
            "relative_level": (airs_var.sum(axis=1) + level.by_variance) @ parts.level**2,
            "scale_fgs1": bins.by_mean[:, 0] @ parts.fgs1,
            "scale_level": (airs_mean.sum(axis=1) + level.by_mean) @ parts.level,
            "scale_shape": ((airs_mean + shape.by_mean) * parts.shape).sum(),
        }
