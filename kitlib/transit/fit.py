"""Physical transit fit: white light first, then all 283 bins jointly, to a posterior over the whole spectrum.

1. White: AIRS summed over wavelength and FGS1, all visits. At each point of a grid of mid-transit times and impact
   parameters stands a linear solution. Gauss-Newton starts from the best of them.
2. Joint: Gauss-Newton over geometry, limb darkening, drift 1 + p(t) q(channel) and 283 depths at once. The drift's
   orders and scales are averaged by their evidence.
3. The likelihood, marginalised over everything but the depths, meets the spectral prior in closed form.

A planet that resists falls back in steps, each counted in diagnostics["fallback"]: 0 joint fit; 1 joint fit at the
catalogue's geometry; 2 the population prior.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..base.instruments import FGS1, PPM
from ..base.products import COVERED, POPULATION, Array, Catalogue, LightCurveFit, PlanetLightCurves
from ..base.schema import PhysfitConfig
from ..spectra import Likelihood, combine, ln_scale_height_depth, moments
from .dilution import dilution_errors
from .driftorder import averaged
from .gate import complaints, covered, instrument_errors, noisier
from .gaussnewton import Fit, FitError
from .grazing import grazes, profile
from .jointfit import joint_fit
from .measured import drift_orders, nothing_shown, orbit_errors, shown
from .parameters import Layout
from .parts import parts, without_transients
from .priors import Priors
from .record import diagnostics_of, fitted_series, white_curves
from .series import FittedSeries
from .transients import Transient, red_error, transients
from .visitmodel import fitted
from .whitefit import CATALOGUE, HELD, WRONG, white_fit

SOUND, IN_PARTS = 0.0, 1.0  # diagnostics["gate"], beside COVERED
HELD_FALLBACK = 1.0  # diagnostics["fallback"] of a fit with the catalogue's geometry held
MOST_DISAGREEMENT, MOST_OFFSET = 0.15, 1e-3  # of FGS1's and AIRS' depths: of the deeper one, and beside it; real: 5e-4
MOST_TRANSIENTS = 3  # that may be taken out of a planet's light curves
HOPELESS = 0.5  # relative error of the depth by the residuals, from which on the population knows better
SURE = 5.0  # standard deviations
LEAST_DEPTH = 1e-3  # real planets' begin at 0.0037
FAR_OUT = 0.8  # impact parameter, or a catalogue taken for wrong: there, what looks smaller is a larger planet

NO_TRANSIT = 5e-4  # a white depth below is none: real planets' begin at 0.0037


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
    transients: list[Transient]
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
        found = _covered(planet, row, priors, [first], problem[0])
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
            details = Details(fitted_series(fit, float(row.period_days[0])), averaged(fit, layout))
            answer = _combined(planet, row, priors, white, fit, layout, details)
            if graze is not None:
                mean, cov = graze.widened(answer.mean, answer.cov)
                answer = replace(answer, mean=mean, cov=cov)
            level, impact = float(answer.mean[1:].mean()), answer.diagnostics["impact_param"]
            if level < LEAST_DEPTH and (chosen == WRONG or impact > FAR_OUT):
                raise FitError(f"a depth of {level:.1e} is that of no planet on such an orbit")
            passing = transients(white, _transits(white, row))
        except (FitError, np.linalg.LinAlgError) as error:
            reasons.append(_in_words(error, white))
            continue
        known = {"fallback": HELD_FALLBACK if geometry == HELD else 0.0, "wide_geometry": float(chosen == WRONG)}
        known["transient"] = max((one.sigma for one in passing), default=0.0)
        answer = replace(answer, diagnostics=answer.diagnostics | known, reason="; ".join(reasons))
        return _Attempt(answer, details, white, passing, complaints(answer.diagnostics) + _disagreement(white))
    return "; ".join(dict.fromkeys(reasons))


def _transits(white: Fit, row: Catalogue) -> list[Array]:
    """(T,) fitted transit of each white series, 1 outside."""
    period = float(row.period_days[0])
    return [fitted(one, white.layout, white.state, period).transit[:, 0] for one in white.series]


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
    tried = [first]
    sound: tuple[str, _Attempt, list[Transient]] | None = None
    for what, part, taken in _in_turn(planet, tried):
        attempt = _tried(part, row, priors, config)
        if isinstance(attempt, _Attempt):
            tried.append(attempt)
        if isinstance(attempt, _Attempt) and not attempt.complaints:
            sound = what, attempt, taken
            break
    if not sound:
        return _covered(planet, row, priors, tried, problem)
    what, attempt, taken = sound
    words, answer = f"{problem}. Answered by a fit of {what}", attempt.answer
    if excess := noisier(answer.diagnostics):
        return _covered(planet, row, priors, [attempt], f"{words}: {excess[0]}", taken)
    cov = covered(answer.cov, answer.mean, *_unsure(attempt.white, row, taken), 1.0)
    known = {"visits": float(len(planet.visits)), "gate": IN_PARTS}
    answer = replace(answer, cov=cov, diagnostics=answer.diagnostics | known, misfit=f"{words}.")
    return replace(attempt, answer=answer)


def _unsure(white: Fit, row: Catalogue, taken: Sequence[Transient]) -> tuple[float, float]:
    """Relative errors of FGS1's and AIRS' depths by what was taken away, and by residuals that know each other."""
    found = {True: 0.0, False: 0.0}
    for one, residual, transit in zip(white.series, white.system.residuals, _transits(white, row), strict=True):
        red = red_error(one.time_h, np.sqrt(one.weight[:, 0]), residual[:, 0], transit)
        steps = [each.depth_error.get(one.instrument, 0.0) for each in taken if each.visit == one.visit]
        fgs1 = one.instrument == FGS1.name
        found[fgs1] = max(found[fgs1], float(np.hypot(red, np.linalg.norm(steps))))
    return found[True], found[False]


def _in_turn(
    planet: PlanetLightCurves, tried: list[_Attempt]
) -> Iterator[tuple[str, PlanetLightCurves, list[Transient]]]:
    """Parts of a planet's data with what they are, and what was taken away; `tried` grows by each that gives a fit."""
    first = tried[0]
    middle, half = first.answer.diagnostics["t0_h"], first.answer.diagnostics["duration_h"] / 2
    contacts = middle - half, middle + half
    none: list[Transient] = []
    others = ((what, part, none) for what, part in parts(planet, *contacts))
    if any(len(visit) > 1 for visit in planet.visits):
        yield next(others)
    taken: list[Transient] = []
    latest = first
    for _ in range(MOST_TRANSIENTS):
        if not latest.transients:
            break
        taken.append(latest.transients[0])
        part, count = without_transients(planet, taken, *contacts), len(tried)
        if part is None:
            break
        yield "all " + " and ".join(one.in_words() for one in taken), part, list(taken)
        if len(tried) == count:
            break
        latest = tried[-1]
    yield from others


def _covered(
    planet: PlanetLightCurves,
    row: Catalogue,
    priors: Priors,
    tried: list[_Attempt],
    problem: str,
    taken: Sequence[Transient] = (),
) -> "_Attempt | PlanetFit":
    """The first answer with a covariance that covers what its residuals show, and how far the other fits are from it.

    The population's where that is hopeless.
    """
    found = tried[0]
    fgs1, airs = np.maximum(
        instrument_errors(found.white, _transits(found.white, row)), _unsure(found.white, row, taken)
    )
    depths = np.array([[one.answer.mean[0], one.answer.mean[1:].mean()] for one in tried])
    apart = np.sqrt(np.mean((depths / depths[0] - 1) ** 2, axis=0))
    errors = max(float(fgs1), float(apart[0])), max(float(airs), float(apart[1]))
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
    diagnostics = diagnostics_of(planet, row, white, fit) | {"gate": SOUND}
    diagnostics["unfamiliar"] = float(weights[prior.learnt_components :].sum())
    kinds = weights[: prior.learnt_components].reshape(len(prior.kinds.weight), -1).sum(1)
    diagnostics |= {"kind": float(kinds.argmax() + 1), "kind_weight": float(kinds.max()), "kinds": float(len(kinds))}
    diagnostics |= orbit_errors(fit) | drift_orders(fit, layout)
    expected, scatter = moments(components[: prior.learnt_components])
    curves = white_curves(planet, white, row)
    beside = shown(details.likelihood, expected, scatter)
    return PlanetFit(mean, cov, diagnostics, curves, expected, np.sqrt(np.diag(scatter)), beside)


def _population(planet: PlanetLightCurves, priors: Priors, reason: str) -> PlanetFit:
    mean, cov = priors.spectrum.population()
    diagnostics = {"fallback": float(POPULATION), "visits": float(len(planet.visits))}
    unknown = np.full_like(mean, np.nan)
    return PlanetFit(mean, cov, diagnostics, [], unknown, unknown, nothing_shown(), reason)
