"""First step of the physical fit: white light curves of AIRS and FGS1, all visits, from the best starts of a grid."""

from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.polynomial.legendre import legvander

from ..base.instruments import FGS1
from ..base.products import Array, Catalogue, PlanetLightCurves
from ..base.schema import PhysfitConfig
from .flux import transit_flux
from .gate import complaints, noisier, white_figures
from .gaussnewton import Fit, FitError, gauss_newton
from .limbdarkening import LimbDarkening
from .parameters import Layout, State, limb_coefficients, parameter_layout
from .priors import Priors
from .series import GROSS_SIGMA, Series, robust_sd, series_of, without, without_spikes

# Priors on what the light curve knows little about. [JC]: published by Jeroen Cottaar, who won the competition
# (github.com/jcottaar/ariel2 and his write-up: docs/method/references.md).
LN_A_SD = 0.064  # scatter of the catalogue's a/Rs [JC]
IMPACT_SD = 0.15  # of the catalogue's impact parameter: its scatter is not published, so wide
# The catalogue may be wrong: a few planets have a period or an a/Rs that is off by a factor of up to 2.5. A light curve
# sees the planet's speed across the star, so that a/Rs stands for both: a wide part of its prior.
WRONG_PROBABILITY, WRONG_LN_A_SD, WRONG_IMPACT, WRONG_IMPACT_SD = 0.03, 0.6, 0.45, 0.45
STRAINED = 2.5  # standard deviations that a/Rs or b may be pulled from the catalogue before the wide part is tried
LARGEST_IMPACT = 1.1  # that the catalogue's is taken for: beyond, few planets transit
FGS1_DELAY_SD_H = 0.0075  # FGS1 and AIRS mid-transit differ by at most 0.015 h [JC]
AIRS_DRIFT_SD, FGS1_DRIFT_SD = 3e-4, 8e-4  # of each power's coefficient [JC: rms over a visit]
FIXED = 1e-6  # prior width of what is not to move
# geometry: a/Rs and b around the catalogue's, held there, or as open as where the catalogue is wrong
CATALOGUE, HELD, WRONG = "catalogue", "held", "wrong"
# the white fit's grid; ln a/Rs around the catalogue's, and where that may be wrong
START_IMPACTS, START_LN_A, WIDE_START_LN_A = (0.1, 0.5, 0.8, 1.0), (-0.13, 0.0, 0.13), np.arange(-1.2, 1.21, 0.15)
START_TIMES_H = np.arange(0.0, 7.51, 0.1)
TEMPLATE_TIMES_H = np.linspace(0, 8, 401)  # a transit is the same before and after its middle
STARTS, FIRST_ITERATIONS = 3, 3  # Gauss-Newton runs from the best points of the grid; the best of them goes on


def layout_for(
    planet: Catalogue,
    limb: LimbDarkening,
    visits: int,
    order: int,
    colour_order: int,
    geometry: str = CATALOGUE,
    impact: float | None = None,
) -> Layout:
    """State vector and priors of one planet, `planet` its catalogue row, for one of the words of `geometry`.

    `impact`: where the impact parameter is to be held.
    """
    layout = parameter_layout(visits, order, colour_order)
    mean, sd = layout.mean.copy(), layout.sd.copy()

    def put(name: str, *values: tuple[float, float]) -> None:
        mean[layout[name]], sd[layout[name]] = np.array(values).T

    a, inclination = float(planet.semi_major_axis_rs[0]), float(planet.inclination_deg[0])
    put("ln_a", (np.log(a), LN_A_SD))
    put("b", (min(a * abs(np.cos(np.radians(inclination))), LARGEST_IMPACT), IMPACT_SD))
    put("fgs1_delay", (0.0, FGS1_DELAY_SD_H))
    for visit in range(visits):
        put(f"t0_{visit}", (3.75, 10.0))
        sd[layout[f"fgs1_drift_{visit}"]] = FGS1_DRIFT_SD
        sd[layout[f"airs_drift_{visit}"]] = AIRS_DRIFT_SD
        if colour_order == 0:
            put(f"airs_colour_{visit}", (1.0, FIXED))
        else:
            sd[layout[f"airs_second_{visit}"]] = AIRS_DRIFT_SD
    if geometry == HELD:
        sd[layout["ln_a"]] = sd[layout["b"]] = FIXED
    elif geometry == WRONG:
        put("ln_a", (np.log(a), WRONG_LN_A_SD))
        put("b", (WRONG_IMPACT, WRONG_IMPACT_SD))
    if impact is not None:
        put("b", (impact, FIXED))
    darkening = limb.at(float(planet.stellar_temperature_k[0]))
    return replace(layout, mean=mean, sd=sd, limb_mean=darkening, limb_root=np.linalg.cholesky(limb.cov))


def white_fit(
    planet: PlanetLightCurves, row: Catalogue, priors: Priors, config: PhysfitConfig, geometry: str = CATALOGUE
) -> tuple[Fit, str]:
    """Fit white AIRS and FGS1 of all visits from the best starts of a grid, and the geometry that it was fitted with.

    Where the catalogue's geometry is strained or leaves residuals, a wrong catalogue is tried as well, and the
    catalogue's again from what that finds: both parts of the mixture prior of a/Rs and b are compared by their
    evidence. Raises FitError without usable samples.
    """
    series = without_spikes(series_of(planet, white=True), GROSS_SIGMA)
    if not any((one.weight > 0).sum() > 20 for one in series):
        raise FitError("fewer than 20 usable samples")
    problems: list[str] = []

    def attempt(which: str, start: State | None = None) -> Fit | None:
        try:
            return _fitted(series, planet, row, priors, config, which, start)
        except FitError as error:
            problems.append(str(error))
            return None

    fit = attempt(geometry)
    if geometry == CATALOGUE and (fit is None or _strained(fit)) and (wide := attempt(WRONG)) is not None:
        ends = [one for one in (fit, attempt(CATALOGUE, wide.state)) if one is not None]
        fit = min(ends, key=lambda one: one.objective, default=None)
        odds = np.log(WRONG_PROBABILITY / (1 - WRONG_PROBABILITY))
        if fit is None or log_evidence(wide) + odds > log_evidence(fit):
            return wide, WRONG
    if fit is None:
        raise FitError(problems[0])
    return fit, geometry


def _strained(fit: Fit) -> bool:
    """Whether a fit says that the catalogue's geometry may not be the planet's."""
    pull = (fit.state.shared - fit.layout.mean) / fit.layout.sd
    far = max(abs(float(pull[fit.layout[name]][0])) for name in ("ln_a", "b"))
    figures = white_figures(fit)
    return far > STRAINED or bool(complaints(figures) or noisier(figures))


def log_evidence(fit: Fit) -> float:
    """ln evidence by Laplace's approximation, up to a constant that fits of the same series share."""
    return -0.5 * fit.objective - 0.5 * float(np.linalg.slogdet(posterior_precision(fit))[1])


def posterior_precision(fit: Fit) -> Array:
    """Precision of depths and shared parameters, (channels + S,) squared, in units of their priors."""
    sd, root, size = fit.layout.sd, fit.depth_root, len(fit.depth_root)
    hessian = np.eye(size + len(sd))
    hessian[:size, :size] += root.T @ (fit.system.depth[:, None] * root)
    hessian[:size, size:] = root.T @ fit.system.cross * sd
    hessian[size:, :size] = hessian[:size, size:].T
    hessian[size:, size:] += sd[:, None] * fit.system.shared * sd
    return hessian


def _fitted(
    series: list[Series],
    planet: PlanetLightCurves,
    row: Catalogue,
    priors: Priors,
    config: PhysfitConfig,
    geometry: str,
    start: State | None = None,
) -> Fit:
    """The best of several starts, or of the one given, outliers taken out. Raises FitError."""
    layout = layout_for(row, priors.limb, len(planet.visits), config.drift_order, 0, geometry)
    period = float(row.period_days[0])
    mean, cov = (
        np.full(2, float(priors.spectrum.level_mean)),
        float(priors.spectrum.level_sd) ** 2 * np.ones((2, 2)) + (3e-4) ** 2 * np.eye(2),
    )
    fits = []
    starts = [start] if start else _starts(series, layout, period, float(priors.spectrum.level_mean), geometry)
    for one in starts:
        try:
            fits.append(gauss_newton(series, layout, one, period, mean, cov, FIRST_ITERATIONS))
        except FitError:
            continue
    if not fits:
        raise FitError("no start of the white fit converged")
    best = min(fits, key=lambda f: f.objective).state
    iterations = config.max_iterations * (2 if geometry == WRONG else 1)
    fit = gauss_newton(series, layout, best, period, mean, cov, iterations)
    cleaned, dropped = without(
        fit.series, fit.system.residuals, config.outlier_sigma * max(1.0, robust_sd(fit.system.residuals))
    )
    if dropped:
        fit = gauss_newton(cleaned, layout, fit.state, period, mean, cov, iterations)
    return fit


def _starts(series: list[Series], layout: Layout, period_days: float, level: float, geometry: str) -> list[State]:
    """Best states of a grid in a/Rs, impact parameter and mid-transit times; depth and drift solved linearly."""
    wide = geometry == WRONG
    grid = list(product(WIDE_START_LN_A if wide else START_LN_A, START_IMPACTS))
    points = np.repeat(layout.mean[None], len(grid), axis=0)
    points[:, layout["ln_a"].start] += [ln_a for ln_a, _ in grid]
    points[:, layout["b"].start] = [impact for _, impact in grid]
    cost = (((points - layout.mean) / layout.sd) ** 2).sum(1)
    templates = {name: _templates(name, layout, points, period_days, level) for name in {s.instrument for s in series}}
    found: dict[int, list[tuple[Array, Array]]] = {}
    for one in series:
        found.setdefault(one.visit, []).append(_matched(one, templates[one.instrument]))
    depth = np.zeros(len(grid))
    for visit, matches in found.items():
        gain = np.sum([one for one, _ in matches], axis=0)
        amplitude = np.mean([one for _, one in matches], axis=0)
        best = np.argmax(np.where(amplitude > 0, gain, -np.inf), axis=1)
        points[:, layout[f"t0_{visit}"].start] = START_TIMES_H[best]
        at_best = np.arange(len(grid)), best
        cost -= gain[at_best]
        depth += amplitude[at_best] * level / len(found)
    depth = np.clip(depth, 5e-4, 0.15)
    return [
        State(points[i], np.full(2, depth[i]))
        for i in np.argsort(cost, kind="stable")[: 2 * STARTS if wide else STARTS]
    ]


def _matched(one: Series, templates: Array) -> tuple[Array, Array]:
    """Fall of chi2, and amplitude, when each of n templates is added to a cubic baseline; (n, len(START_TIMES_H))."""
    root = np.sqrt(one.weight[:, 0])
    baseline, _ = np.linalg.qr(root[:, None] * legvander(one.time_h / one.time_h[-1] * 2 - 1, 3))
    after = np.abs(one.time_h - START_TIMES_H[:, None])
    shifted = root * np.stack([np.interp(after, TEMPLATE_TIMES_H, template) for template in templates])
    shifted = shifted - (shifted @ baseline) @ baseline.T
    data = root * one.flux[:, 0]
    data = data - baseline @ (baseline.T @ data)
    norm = (shifted**2).sum(2) + 1e-12 * (data @ data) + 1e-30
    overlap = shifted @ data
    return overlap**2 / norm, overlap / norm


def _templates(instrument: str, layout: Layout, points: Array, period_days: float, level: float) -> Array:
    """Transit signals of planets of depth `level` at each of n points (n, S), at TEMPLATE_TIMES_H from mid-transit."""
    limb = limb_coefficients(layout, layout.mean)[[0, 1] if instrument == FGS1.name else [2, 5]]
    a, b = np.exp(points[:, layout["ln_a"].start]), points[:, layout["b"].start]
    values = (0.0, period_days, a[:, None], b[:, None], np.sqrt(level), *limb)
    arguments = (torch.as_tensor(value, dtype=torch.float64) for value in values)
    return transit_flux(torch.from_numpy(TEMPLATE_TIMES_H), *arguments).numpy() - 1
