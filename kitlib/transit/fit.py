"""Physical transit fit: white light first, then all 283 bins jointly, to a posterior over the whole spectrum.

1. White: AIRS summed over wavelength and FGS1, all visits; grid of mid-transit times and impact parameters, linear
   solution at each, then Gauss-Newton from the best starts.
2. Joint: Gauss-Newton over geometry, limb darkening, drift 1 + p(t) q(channel) and 283 depths at once; the drift's
   orders and scales are averaged by their evidence.
3. The likelihood, marginalised over everything but the depths, meets the spectral prior in closed form.

A planet that resists falls back in steps, each counted in diagnostics["fallback"]: 0 joint fit; 1 joint fit at the
catalogue's geometry; 2 the population prior.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..base.instruments import AIRS, PPM
from ..base.products import COVERED, POPULATION, Array, Catalogue, LightCurveFit, PlanetLightCurves
from ..base.schema import PhysfitConfig
from ..spectra import Likelihood, combine, ln_scale_height_depth, moments
from .dilution import dilution_errors
from .driftorder import averaged
from .flux import transit_duration_h
from .gate import complaints, covered, instrument_errors, joint_figures, noisier, white_figures
from .gaussnewton import Fit, FitError
from .grazing import grazes, profile
from .jointfit import joint_fit
from .measured import drift_orders, nothing_shown, orbit_errors, shown
from .parameters import Layout
from .parts import parts
from .priors import Priors
from .series import FittedSeries
from .visitmodel import fitted
from .whitefit import CATALOGUE, HELD, WRONG, white_fit

SOUND, IN_PARTS = 0.0, 1.0  # diagnostics["gate"], beside COVERED
HELD_FALLBACK = 1.0  # diagnostics["fallback"] of a fit with the catalogue's geometry held
MOST_DISAGREEMENT, MOST_OFFSET = 0.15, 1e-3  # of FGS1's and AIRS' depths: of the deeper one, and beside it; real: 5e-4
HOPELESS = 0.5  # relative error of the depth by the residuals, from which on the population knows better
SURE = 5.0  # standard deviations
LEAST_DEPTH = 1e-3  # real planets' begin at .0037
FAR_OUT = 0.8  # impact parameter, or a catalogue taken for wrong: there, what looks smaller is a larger planet

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
    shown: dict[str, Array]  # what the report shows beside the posterior, `measured.shown`
    reason: str = ""  # why it fell back; "" when it did not
    misfit: str = ""  # what the gate found, and how the planet was answered all the same; "" for a sound fit


@dataclass(frozen=True)
class Details:
    """What stands behind a planet's posterior."""

    series: list[FittedSeries]  # fitted light curves, all visits and instruments
    likelihood: Likelihood  # of its depths, before they meet the spectral prior


@dataclass(frozen=True)
class _Attempt:
    """One fit of a planet, or of a part of its data, and what the gate says of it."""

    answer: PlanetFit
    details: Details
    white: Fit
    complaints: list[str]


def fit_planet(planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig) -> PlanetFit:
    """Posterior of one planet's spectrum; never raises: see `fallback` in its diagnostics."""
    return detailed_fit(planet, row, priors, config)[0]


def detailed_fit(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig
) -> tuple[PlanetFit, Details | None]:
    """`fit_planet`, and what the answer was made of; None where that is the population's."""
    answer, details = _answered(planet, row, priors, config)
    errors = dilution_errors(planet)
    if details is None or errors is None:
        return answer, details
    fgs1, airs, share = errors
    cov = covered(answer.cov, answer.mean, fgs1, airs, 1.0)
    return replace(answer, cov=cov, diagnostics=answer.diagnostics | {"neighbour": share}), details


def _answered(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig
) -> tuple[PlanetFit, Details | None]:
    """As `detailed_fit`, a neighbour's dilution being known without error."""
    first = _tried(planet, row, priors, config)
    if isinstance(first, str):
        return _population(planet, priors, first), None
    found: _Attempt | PlanetFit = first
    if first.complaints:
        found = _repaired(planet, row, priors, config, first)
    elif problem := noisier(first.answer.diagnostics):
        found = _covered(planet, row, priors, first, problem[0])
    return (found, None) if isinstance(found, PlanetFit) else (found.answer, found.details)


def _tried(planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig) -> _Attempt | str:
    """A fit of these light curves, the catalogue's geometry held where it does not converge; or why there is none."""
    reasons: list[str] = []
    white: Fit | None = None
    for geometry in (CATALOGUE, HELD):
        try:
            white, chosen = white_fit(planet, row, priors, config, geometry)
            graze = profile(white, float(row.period_days[0])) if grazes(white) else None
            if _nothing_seen(white) and (graze is None or graze.white.system.chi2 > white.system.chi2 - SURE**2):
                raise FitError("no transit is seen")
            if graze is not None:
                white = graze.white
            fit, layout = joint_fit(planet, row, priors, config, white, chosen, graze.impact if graze else None)
            details = Details(_fitted_series(fit, float(row.period_days[0])), averaged(fit, layout))
            answer = _combined(planet, row, priors, white, fit, layout, details)
            if graze is not None:
                mean, cov = graze.widened(answer.mean, answer.cov)
                answer = replace(answer, mean=mean, cov=cov)
            level, impact = float(answer.mean[1:].mean()), answer.diagnostics["impact_param"]
            if level < LEAST_DEPTH and (chosen == WRONG or impact > FAR_OUT):
                raise FitError(f"a depth of {level:.1e} is that of no planet on such an orbit")
        except (FitError, np.linalg.LinAlgError) as error:
            reasons.append(_in_words(error, white))
            continue
        known = {"fallback": HELD_FALLBACK if geometry == HELD else 0.0, "wide_geometry": float(chosen == WRONG)}
        answer = replace(answer, diagnostics=answer.diagnostics | known, reason="; ".join(reasons))
        return _Attempt(answer, details, white, complaints(answer.diagnostics) + _disagreement(white))
    return "; ".join(dict.fromkeys(reasons))


def _nothing_seen(white: Fit) -> bool:
    """Whether the white light curves show no transit: none deeper than NO_TRANSIT, nor one that is sure."""
    sd = 1 / np.sqrt(np.maximum(white.system.depth, 1e-30))
    return bool((white.state.depth < np.minimum(NO_TRANSIT, SURE * sd)).all())


def _disagreement(white: Fit) -> list[str]:
    """Whether FGS1's and AIRS' white depths differ by more than any spectrum does."""
    if len({one.instrument for one in white.series if (one.weight > 0).any()}) < 2:
        return []
    fgs1, airs = white.state.depth
    sd = np.sqrt(1 / np.maximum(white.system.depth, 1e-30))
    apart = abs(fgs1 - airs)
    if apart > MOST_DISAGREEMENT * max(fgs1, airs) + MOST_OFFSET and apart > SURE * float(np.hypot(*sd)):
        return [f"FGS1 sees a transit of {fgs1:.5f}, AIRS one of {airs:.5f}"]
    return []


def _repaired(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig, first: _Attempt
) -> "_Attempt | PlanetFit":
    """What is answered where a fit of all data describes nothing: a part that is sound, else all of it, covered."""
    problem = "; ".join(first.complaints)
    middle, half = first.answer.diagnostics["t0_h"], first.answer.diagnostics["duration_h"] / 2
    for what, part in parts(planet, middle - half, middle + half):
        attempt = _tried(part, row, priors, config)
        if isinstance(attempt, str) or attempt.complaints:
            continue
        words, answer = f"{problem}. Answered by a fit of {what}", attempt.answer
        if excess := noisier(answer.diagnostics):
            return _covered(planet, row, priors, attempt, f"{words}: {excess[0]}")
        known = {"visits": float(len(planet.visits)), "gate": IN_PARTS}
        return replace(attempt, answer=replace(answer, diagnostics=answer.diagnostics | known, misfit=f"{words}."))
    return _covered(planet, row, priors, first, problem)


def _covered(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, found: _Attempt, problem: str
) -> "_Attempt | PlanetFit":
    """The answer with a covariance that covers what the residuals show; the population's where that is hopeless."""
    white = found.white
    transits = [fitted(one, white.layout, white.state, float(row.period_days[0])).transit for one in white.series]
    errors = instrument_errors(white, [transit[:, 0] for transit in transits])
    if not max(errors) < HOPELESS:
        words = f"{problem}. The residuals are as large as the transit: answered by the population."
        return replace(_population(planet, priors, words), misfit=words)
    answer, known = found.answer, {"gate": COVERED, "visits": float(len(planet.visits))}
    cov = covered(answer.cov, answer.mean, *errors, answer.diagnostics["chi2_joint"])
    words = f"{problem}. Sigma covers it: {errors[0]:.1%} of FGS1's depth, {errors[1]:.1%} of AIRS'."
    return replace(found, answer=replace(answer, cov=cov, diagnostics=answer.diagnostics | known, misfit=words))


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
    layout: Layout,
    details: Details,
) -> PlanetFit:
    """Likelihood and spectral prior meet."""
    prior = priors.spectrum
    level = float(np.clip(white.state.depth[1], 1e-4, 0.3))
    components = prior.components(float(ln_scale_height_depth(row, np.array([level]))[0]), level)
    mean, cov, weights = combine(details.likelihood, components)
    if not (np.isfinite(mean).all() and np.isfinite(cov).all() and (np.diag(cov) > 0).all()):
        raise FitError("the posterior is not finite")
    diagnostics = _diagnostics(planet, row, white, fit) | {"gate": SOUND}
    diagnostics["unfamiliar"] = float(weights[prior.learnt_components :].sum())
    kinds = weights[: prior.learnt_components].reshape(len(prior.kinds.weight), -1).sum(1)
    diagnostics |= {"kind": float(kinds.argmax() + 1), "kind_weight": float(kinds.max()), "kinds": float(len(kinds))}
    diagnostics |= orbit_errors(fit) | drift_orders(fit, layout)
    expected, scatter = moments(components[: prior.learnt_components])
    curves = _curves(planet, white, row)
    beside = shown(details.likelihood, expected, scatter)
    return PlanetFit(mean, cov, diagnostics, curves, expected, np.sqrt(np.diag(scatter)), beside)


def _population(planet: PlanetLightCurves, priors: Priors, reason: str) -> PlanetFit:
    mean, cov = priors.spectrum.population()
    diagnostics = {"fallback": float(POPULATION), "visits": float(len(planet.visits))}
    unknown = np.full_like(mean, np.nan)
    return PlanetFit(mean, cov, diagnostics, [], unknown, unknown, nothing_shown(), reason)


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
    bright = [float(one.level_e.sum()) for one in fit.series if one.instrument == AIRS.name]
    masked = [curve.quality.get("masked_fraction", np.nan) for visit in planet.visits for curve in visit.values()]
    return {
        "visits": float(len(planet.visits)),
        "missing_contact": float(any(t < start + 0.1 or t + 2 * half > end - 0.1 for t in first)),
        **white_figures(white),
        **joint_figures(fit),
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
        gain = model.gain[:, 0]
        values = (array / star for array in (one.flux[:, 0], gain * model.transit[:, 0], sigma, gain))
        curves.append(LightCurveFit(planet.planet_id, one.visit, one.instrument, one.time_h, *values))
    return curves
