"""Physical transit fit: white light first, then all 283 bins jointly, to a posterior over the whole spectrum.

1. White: AIRS summed over wavelength and FGS1, all visits; grid of mid-transit times and impact parameters, linear
   solution at each, then Gauss-Newton from the best starts.
2. Joint: Gauss-Newton over geometry, limb darkening, drift 1 + p(t) q(channel) and 283 depths at once; the drift's
   orders and scales are averaged by their evidence.
3. The likelihood, marginalised over everything but the depths, meets the spectral prior in closed form.

A planet that resists falls back in steps, each counted in diagnostics["fallback"]: 0 joint fit; 1 joint fit at the
catalogue's geometry; 2 the population prior.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..base.instruments import AIRS, PPM
from ..base.products import POPULATION, Array, Catalogue, LightCurveFit, PlanetLightCurves
from ..base.schema import PhysfitConfig
from ..spectra import Likelihood, combine, ln_scale_height_depth, moments
from .driftorder import averaged
from .flux import transit_duration_h
from .gaussnewton import Fit, FitError
from .jointfit import joint_fit
from .priors import Priors
from .series import FittedSeries
from .visitmodel import fitted
from .whitefit import white_fit

NO_TRANSIT = 5e-4  # a white depth below is none: real planets' begin at .0037


@dataclass(frozen=True)
class PlanetFit:
    """Result for one planet."""

    mean: Array  # (283,)
    cov: Array  # (283, 283)
    diagnostics: dict[str, float]
    curves: list[LightCurveFit]
    prior_mean: Array  # (283,) of the learnt part of its spectral prior
    prior_sd: Array  # (283,)
    reason: str  # why it fell back; "" when it did not


@dataclass(frozen=True)
class Details:
    """What stands behind a planet's posterior."""

    series: list[FittedSeries]  # fitted light curves, all visits and instruments
    likelihood: Likelihood  # of its depths, before they meet the spectral prior


def fit_planet(planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig) -> PlanetFit:
    """Posterior of one planet's spectrum; never raises: see `fallback` in its diagnostics."""
    return detailed_fit(planet, row, priors, config)[0]


def detailed_fit(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig
) -> tuple[PlanetFit, Details | None]:
    """`fit_planet`, and what the answer was made of; None where that is the population's."""
    reasons: list[str] = []
    white: Fit | None = None
    for fallback, fixed in enumerate((False, True)):
        try:
            white = white_fit(planet, row, priors, config, fixed)
            fit, layout = joint_fit(planet, row, priors, config, white, fixed)
            details = Details(_fitted_series(fit, float(row.period_days[0])), averaged(fit, layout))
            return _combined(planet, row, priors, white, fit, details, fallback, "; ".join(reasons)), details
        except (FitError, np.linalg.LinAlgError) as error:
            reasons.append(_in_words(error, white))
    return _population(planet, priors, "; ".join(dict.fromkeys(reasons))), None


def _in_words(error: Exception, white: Fit | None) -> str:
    """Why a fit failed. Without a transit in the visit depths end at their least value and matrices are singular."""
    if white is not None and white.state.depth.max() < NO_TRANSIT:
        hours = [float(one.time_h[end]) for one in white.series for end in (0, -1)]
        seen = f"from {min(hours):.2f} to {max(hours):.2f} h"
        return f"no transit in the visit: in white light {seen} nothing is deeper than {NO_TRANSIT / PPM:.0f} ppm"
    if isinstance(error, np.linalg.LinAlgError):
        return f"the light curves do not determine the fit ({error})"
    return str(error)


def _combined(
    planet: PlanetLightCurves,
    row: Catalogue,
    priors: Priors,
    white: Fit,
    fit: Fit,
    details: Details,
    fallback: int,
    reason: str,
) -> PlanetFit:
    """Likelihood and spectral prior meet."""
    prior = priors.spectrum
    level = float(np.clip(white.state.depth[1], 1e-4, 0.3))
    components = prior.components(float(ln_scale_height_depth(row, np.array([level]))[0]), level)
    mean, cov, weights = combine(details.likelihood, components)
    if not (np.isfinite(mean).all() and np.isfinite(cov).all() and (np.diag(cov) > 0).all()):
        raise FitError("the posterior is not finite")
    diagnostics = _diagnostics(planet, row, white, fit) | {"fallback": float(fallback)}
    diagnostics["unfamiliar"] = float(weights[prior.learnt_components :].sum())
    expected, scatter = moments(components[: prior.learnt_components])
    curves = _curves(planet, white, row)
    return PlanetFit(mean, cov, diagnostics, curves, expected, np.sqrt(np.diag(scatter)), reason)


def _population(planet: PlanetLightCurves, priors: Priors, reason: str) -> PlanetFit:
    mean, cov = priors.spectrum.population()
    diagnostics = {"fallback": float(POPULATION), "visits": float(len(planet.visits))}
    unknown = np.full_like(mean, np.nan)
    return PlanetFit(mean, cov, diagnostics, [], unknown, unknown, reason)


def _fitted_series(fit: Fit, period_days: float) -> list[FittedSeries]:
    """All series of a joint fit as the fusion model takes them."""
    found = []
    for one in fit.series:
        model = fitted(one, fit.layout, fit.state, period_days)
        t0_h = float(fit.state.shared[fit.layout[f"t0_{one.visit}"]][0])
        found.append(
            FittedSeries(
                instrument=one.instrument,
                visit=one.visit,
                time_h=one.time_h,
                flux=one.flux,
                weight=one.weight,
                gain=model.gain,
                transit=model.transit,
                t0_h=t0_h,
                electrons=model.star * one.level_e,
                u1=model.u1,
                u2=model.u2,
            )
        )
    return found


def _diagnostics(planet: PlanetLightCurves, row: Catalogue, white: Fit, fit: Fit) -> dict[str, float]:
    shared, layout = fit.state.shared, fit.layout

    def of(name: str) -> float:
        return float(shared[layout[name]][0])

    values = [of("ln_a"), of("b"), float(np.sqrt(fit.state.depth[1:].mean()))]
    period, a, b, k = (
        torch.tensor(v, dtype=torch.float64) for v in (float(row.period_days[0]), np.exp(values[0]), *values[1:])
    )
    half = float(transit_duration_h(period, a, b, k)) / 2
    first = [of(f"t0_{v}") - half for v in range(len(planet.visits))]
    start = min(float(one.time_h[0]) for one in fit.series)
    end = max(float(one.time_h[-1]) for one in fit.series)
    flat = np.concatenate([r[:, 0][r[:, 0] != 0] for r in white.system.residuals])
    bright = [float(one.level_e.sum()) for one in fit.series if one.instrument == AIRS.name]
    masked = [curve.quality.get("masked_fraction", np.nan) for visit in planet.visits for curve in visit.values()]
    return {
        "visits": float(len(planet.visits)),
        "missing_contact": float(any(t < start + 0.1 or t + 2 * half > end - 0.1 for t in first)),
        "chi2_white": white.system.chi2 / max(white.system.samples, 1),
        "chi2_joint": fit.system.chi2 / max(fit.system.samples, 1),
        "autocorrelation": float(flat[1:] @ flat[:-1] / max(flat @ flat, 1e-30)),
        "duration_h": 2 * half,
        "t0_h": of("t0_0"),
        "a_over_rs": float(np.exp(of("ln_a"))),
        "impact_param": abs(of("b")),
        "level": float(fit.state.depth[1:].mean()),
        "electrons": float(np.mean(bright)) if bright else np.nan,
        "masked_fraction": max(masked),
    }


def _curves(planet: PlanetLightCurves, white: Fit, row: Catalogue) -> list[LightCurveFit]:
    curves = []
    for one in white.series:
        model = fitted(one, white.layout, white.state, float(row.period_days[0]))
        weight, star = one.weight[:, 0], max(float(model.star[0]), 1e-30)
        sigma = np.where(weight > 0, 1 / np.sqrt(np.maximum(weight, 1e-30)), np.inf)
        values = (array / star for array in (one.flux[:, 0], (model.gain * model.transit)[:, 0], sigma))
        curves.append(LightCurveFit(planet.planet_id, one.visit, one.instrument, one.time_h, *values))
    return curves
