"""A frozen sigma calibration: its numbers, its JSON form and how it acts on a posterior. `sigma.py` fits it.

Errors of the AIRS level (its mean over 282 bins) and of its shape (the rest) have different sizes and sources, so each
part has a factor of its own. With the level L = mean_b d_b and the shape S_b = d_b - L of a posterior, bin b gets

    var_b = f_L^2 var L + f_S^2 var S_b + 2 f_L f_S cov(L, S_b) + a_L^2 + (r_L L)^2 + a_S^2,
    FGS1:   f_F^2 var + a_F^2 + (r_F d_F)^2,

where each f is a factor. Those of FGS1 and level are multiplied by planet-wise terms for residual quality (a power of
chi2), a second visit, a missing contact, and, for the level alone, a covariance that covers a misfit (which has taken
chi2 into account: its power is left out there). The shape has none: these terms are of white light. Each a is a floor
in ppm and each r one relative to the depth, added in quadrature: what no fit explains, such as spots and visits that
disagree, grows with the depth. The mean is corrected by a scale of FGS1, of the level, and of the shape around it: limb
darkening that is not quite the star's is wrong by a fraction of the depth.

A planet whose fit failed (`Posterior.is_population`) carries the population prior, which no residual of a fit can
judge: it keeps its mean and covariance.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import N_AIRS_BINS, N_BINS, PPM
from ..base.products import Array, Posterior, Prediction
from ..spectra import airs_variances

VERSION = 4
MIN_SIGMA = 1e-8  # far below any real sigma (> 1e-6); keeps rounding of a float32 covariance from reaching zero
MIN_DEPTH = 1e-6  # the score refuses negative depths; real ones are above 0.003
LN_CHI2_RANGE = 2.0  # |ln(chi2 / reference)| is cut here: a wild fit is not extrapolated without end
QUALITY = ("chi2_white", "visits", "missing_contact", "gate")  # the diagnostics that a calibrator may use
# Which parts each of these acts on, FGS1 / level / shape: white light says nothing of the shape. What covers a misfit
# of FGS1 is measured in FGS1 alone, and needs no factor.
ACTS_ON = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0]])


class CalibratorError(ValueError):
    """A calibrator's JSON is not one of ours, or it does not fit the posterior at hand."""


@dataclass(frozen=True)
class Calibrator:
    """Frozen numbers of one calibration; the defaults change nothing."""

    factor_fgs1: float = 1.0  # multiply the standard deviation of each part
    factor_level: float = 1.0
    factor_shape: float = 1.0
    # FGS1's and the level's factors are multiplied by
    chi2_exponent: float = 0.0  # (chi2_white / chi2_reference) ** chi2_exponent
    two_visit_factor: float = 1.0  # where a planet has two visits
    missing_contact_factor: float = 1.0  # where ingress or egress is missing
    covered_factor: float = 1.0  # the level's alone, where the covariance covers a misfit (`Posterior.is_covered`)
    floor_fgs1_ppm: float = 0.0  # added in quadrature, after the factors
    floor_level_ppm: float = 0.0
    floor_shape_ppm: float = 0.0
    relative_fgs1: float = 0.0  # added in quadrature as well, fractions of the depth
    relative_level: float = 0.0
    scale_fgs1: float = 1.0  # multiplies the mean of each part; the shape around its level
    scale_level: float = 1.0
    scale_shape: float = 1.0
    chi2_reference: float = 1.0  # median chi2_white of the planets that it was fitted on
    quality: tuple[str, ...] = ()  # diagnostics that it uses, of QUALITY
    fitted_on: tuple[int, ...] = ()  # planet ids; a score or a reliability on these is not an honest one
    version: int = VERSION

    def unseen(self, planet_id: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(P,) True for planets that this calibrator was not fitted on: the only ones to judge it by."""
        return ~np.isin(planet_id, np.array(self.fitted_on, np.int64))

    def to_json(self) -> str:
        """Exact text form: `from_json` gives an equal calibrator."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Calibrator":
        """Read `to_json`'s form. CalibratorError on anything missing, unknown, of a wrong type or out of range."""
        try:
            raw = json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise CalibratorError(f"the calibrator is not JSON ({error}). Run the train stage again.") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(raw, dict) or raw.get("version") != VERSION:
            found = raw.get("version") if isinstance(raw, dict) else type(raw).__name__
            raise CalibratorError(f"the calibrator has version {found!r}, not {VERSION}. Run the train stage again.")
        if set(raw) != names:
            differing = sorted(set(raw) ^ names)
            raise CalibratorError(f"the calibrator's keys differ in {differing}. Run the train stage again.")
        return cls(**{name: _checked(name, value) for name, value in raw.items()})


def apply(calibrator: Calibrator, posterior: Posterior) -> Prediction:
    """Calibrated mu and sigma, (P, 283) float64, of a posterior (which is left as it is).

    mu is cut below at 1e-6: the score refuses negative depths. A planet whose posterior is unusable (not finite, or a
    variance that is not positive) gets NaN in both, which no submission accepts: the caller decides what stands in.
    Raises CalibratorError where the calibrator uses a diagnostic that the posterior lacks, ValueError on wrong shapes.
    """
    bad = unusable(posterior)[:, None]
    mu, variance = calibrated_moments(take_apart(posterior, calibrator), calibrator)
    sigma = np.where(bad, np.nan, np.sqrt(variance))
    return Prediction(posterior.planet_id.copy(), np.where(bad, np.nan, np.maximum(mu, MIN_DEPTH)), sigma)


def calibrated_covariance(calibrator: Calibrator, posterior: Posterior) -> Array:
    """(P, 283, 283) float32 covariance whose diagonal is `apply`'s sigma squared; for diagnostics by part."""
    unusable(posterior)  # refuses wrong shapes; an unusable covariance stays what it is
    parts = take_apart(posterior, calibrator)
    factors, floors = quality_factors(parts, calibrator), _floors(parts, calibrator)
    average = np.full((N_AIRS_BINS, N_AIRS_BINS), 1.0 / N_AIRS_BINS)
    centring = np.eye(N_AIRS_BINS) - average
    # white noise in each bin, its mean over bins removed, scaled so that each bin has unit variance
    shape_floor = centring * N_AIRS_BINS / (N_AIRS_BINS - 1)
    out = np.empty(posterior.cov.shape, np.float32)
    for planet, cov in enumerate(posterior.cov):
        transform = np.zeros((N_BINS, N_BINS))
        transform[0, 0] = factors[planet, 0]
        transform[1:, 1:] = factors[planet, 1] * average + factors[planet, 2] * centring
        scaled = transform @ cov.astype(np.float64) @ transform.T
        scaled[0, 0] += floors[planet, 0]
        scaled[1:, 1:] += floors[planet, 1] + floors[planet, 2] * shape_floor
        out[planet] = scaled
    return out


@dataclass(frozen=True)
class Parts:
    """A posterior of P planets taken apart; variances are depth squared."""

    fgs1: Array  # (P,) mean of bin 0
    level: Array  # (P,) mean over AIRS bins of the mean
    shape: Array  # (P, 282) mean minus its level
    fgs1_var: Array  # (P,)
    level_var: Array  # (P,)
    shape_var: Array  # (P, 282)
    cross: Array  # (P, 282) cov(level, shape)
    quality: Array  # (P, 4) ln(chi2 / reference), two visits, missing contact, covered; 0 where a diagnostic is absent
    fitted: NDArray[np.bool_]  # (P,) False: population prior, never touched


def take_apart(posterior: Posterior, calibrator: Calibrator) -> Parts:
    """Level, shape and FGS1 of a posterior and the quality terms that `calibrator` uses. Raises CalibratorError."""
    level_var, cross, shape_var = airs_variances(posterior.cov)
    mean = np.asarray(posterior.mean, np.float64)
    level = mean[:, 1:].mean(axis=1)
    fitted = ~posterior.is_population
    return Parts(
        fgs1=mean[:, 0],
        level=level,
        shape=mean[:, 1:] - level[:, None],
        fgs1_var=posterior.cov[:, 0, 0].astype(np.float64),
        level_var=level_var,
        shape_var=np.maximum(shape_var, 0.0),
        cross=cross,
        quality=_quality(posterior, calibrator, fitted),
        fitted=fitted,
    )


def _quality(posterior: Posterior, calibrator: Calibrator, fitted: NDArray[np.bool_]) -> Array:
    columns, covered = np.zeros((len(fitted), len(QUALITY))), posterior.is_covered
    for index, name in enumerate(QUALITY):
        if name not in calibrator.quality or not fitted.any():
            continue
        if name not in posterior.diagnostics:
            raise CalibratorError(
                f"the posterior lacks the diagnostic {name} that the calibrator was fitted with: refit it"
            )
        values = np.asarray(posterior.diagnostics[name], np.float64)
        if name == "chi2_white":
            valid = np.isfinite(values) & (values > 0)
            ratio = np.where(valid, values, calibrator.chi2_reference) / calibrator.chi2_reference
            columns[:, index] = np.where(covered, 0.0, np.clip(np.log(ratio), -LN_CHI2_RANGE, LN_CHI2_RANGE))
        elif name == "gate":
            columns[:, index] = covered
        else:
            columns[:, index] = values > (1.5 if name == "visits" else 0.5)
    return np.where(fitted[:, None], columns, 0.0)


def quality_factors(parts: Parts, c: Calibrator) -> Array:
    """(P, 3) factors of the standard deviations of FGS1, level and shape."""
    shared = (c.two_visit_factor, c.missing_contact_factor, c.covered_factor)
    terms = np.array([c.chi2_exponent, *map(math.log, shared)])
    base = np.array([c.factor_fgs1, c.factor_level, c.factor_shape])
    return np.where(parts.fitted[:, None], base * np.exp(parts.quality @ (terms[:, None] * ACTS_ON)), 1.0)


def _floors(parts: Parts, c: Calibrator) -> Array:
    """(P, 3) variances added to FGS1, level and shape."""
    floors = (np.array([c.floor_fgs1_ppm, c.floor_level_ppm, c.floor_shape_ppm]) * PPM) ** 2
    relative = np.stack([c.relative_fgs1 * parts.fgs1, c.relative_level * parts.level, 0 * parts.level], axis=1) ** 2
    return np.where(parts.fitted[:, None], floors + relative, 0.0)


def calibrated_moments(parts: Parts, c: Calibrator) -> tuple[Array, Array]:
    """Mean and variance, (P, 283) each."""
    factors, floors = quality_factors(parts, c), _floors(parts, c)
    fgs1, level, shape = factors.T[:, :, None]
    airs_var = level**2 * parts.level_var[:, None] + shape**2 * parts.shape_var + 2 * level * shape * parts.cross
    variance = np.hstack([fgs1**2 * parts.fgs1_var[:, None], airs_var]) + np.hstack(
        [floors[:, :1], np.repeat(floors[:, 1:].sum(axis=1, keepdims=True), N_AIRS_BINS, axis=1)]
    )
    scales = np.where(parts.fitted, np.array([[c.scale_fgs1], [c.scale_level], [c.scale_shape]]), 1.0)[:, :, None]
    mean_airs = scales[1] * parts.level[:, None] + scales[2] * parts.shape
    return np.hstack([scales[0] * parts.fgs1[:, None], mean_airs]), np.maximum(variance, MIN_SIGMA**2)


def _refuse_constant(name: str) -> float:
    raise CalibratorError(f"the calibrator holds {name}: every number must be finite. Run the train stage again.")


_POSITIVE = (
    *("factor_fgs1", "factor_level", "factor_shape", "two_visit_factor", "missing_contact_factor", "covered_factor"),
    *("scale_fgs1", "scale_level", "scale_shape", "chi2_reference"),
)


def _checked(name: str, value: Any) -> Any:
    """One value of the JSON form, of the field's own type; CalibratorError where it cannot be."""
    problem = CalibratorError(f"the calibrator's {name} is {value!r}, which is not allowed. Run the train stage again.")
    if name == "version":
        return value
    if name in ("quality", "fitted_on"):
        kind = str if name == "quality" else int
        if not isinstance(value, list) or any(type(item) is not kind for item in value):
            raise problem
        if name == "quality" and not set(value) <= set(QUALITY):
            raise problem
        return tuple(value)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise problem
    if (name in _POSITIVE and value <= 0) or (name.startswith(("floor_", "relative_")) and value < 0):
        raise problem
    return float(value)


def unusable(posterior: Posterior) -> NDArray[np.bool_]:
    """(P,) planets with a value that is not finite or a variance that is not positive; ValueError on wrong shapes."""
    count = len(posterior.planet_id)
    if posterior.mean.shape != (count, N_BINS) or posterior.cov.shape != (count, N_BINS, N_BINS):
        raise ValueError(
            f"the posterior of {count} planets has mean {posterior.mean.shape} and covariance {posterior.cov.shape}; "
            f"({count}, {N_BINS}) and ({count}, {N_BINS}, {N_BINS}) are needed"
        )
    finite = np.isfinite(posterior.mean).all(axis=1) & np.isfinite(posterior.cov).all(axis=(1, 2))
    return np.logical_not(finite & (np.diagonal(posterior.cov, axis1=1, axis2=2) > 0).all(axis=1))
