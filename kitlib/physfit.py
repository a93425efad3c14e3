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
from itertools import product

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.polynomial.legendre import legvander
from tqdm import tqdm

from .combination import Likelihood, combine
from .config import PhysfitConfig
from .driftorder import averaged, best_choice, restricted
from .gaussnewton import Fit, FitError, gauss_newton
from .instruments import FGS1, N_BINS
from .limbdarkening import LimbDarkening, Measured
from .prior import AMPLITUDES, SpectralPrior, ln_scale_height_depth
from .products import Array, Catalogue, LightCurveFit, PlanetLightCurves, Posterior
from .provenance import EventLog
from .series import Series, rescaled, robust_sd, series_of, without, without_spikes
from .transit import transit_duration_h, transit_flux
from .visitmodel import Layout, State, limb_coefficients, model_flux, normal_equations, parameter_layout, separable_start, star_flux

# Priors on what the light curve knows little about. [F]: FACTS of the competition's data, published by its winner.
LN_A_SD = 0.064  # scatter of the catalogue's a/Rs [F]
IMPACT_SD = 0.15  # of the catalogue's impact parameter: its scatter is not published, so wide
FGS1_DELAY_SD_H = 0.0075  # FGS1 and AIRS mid-transit differ by at most 0.015 h [F]
AIRS_DRIFT_SD, FGS1_DRIFT_SD = 3e-4, 8e-4  # of each power's coefficient [F: rms over a visit]
GROSS_SIGMA = 8.0  # residuals of the white fit's model in a channel: neither drift nor features reach it
FIXED = 1e-6  # prior width of what is not to move
START_IMPACTS, START_LN_A = (0.1, 0.5, 0.8), (-0.13, 0.0, 0.13)  # the white fit's grid; ln a/Rs around the catalogue's
START_TIMES_H = np.arange(0.0, 7.51, 0.1)
TEMPLATE_TIMES_H = np.linspace(-8, 8, 801)
STARTS, FIRST_ITERATIONS = 3, 3  # Gauss-Newton runs from the best points of the grid; the best of them goes on


@dataclass(frozen=True)
class PlanetFit:
    """Result for one planet."""

    mean: Array  # (283,)
    cov: Array  # (283, 283)
    diagnostics: dict[str, float]
    curves: list[LightCurveFit]
    reason: str  # why it fell back; "" when it did not


def layout_for(
    planet: Catalogue, limb: LimbDarkening, visits: int, order: int, colour_order: int, fixed: bool = False
) -> Layout:
    """State vector and priors of one planet, `planet` its catalogue row; `fixed` holds the catalogue's geometry."""
    layout = parameter_layout(visits, order, colour_order)
    mean, sd = layout.mean.copy(), layout.sd.copy()

    def put(name: str, *values: tuple[float, float]) -> None:
        mean[layout[name]], sd[layout[name]] = np.array(values).T

    a, inclination = float(planet.semi_major_axis_rs[0]), float(planet.inclination_deg[0])
    put("ln_a", (np.log(a), LN_A_SD))
    put("b", (min(a * abs(np.cos(np.radians(inclination))), 0.95), IMPACT_SD))
    put("fgs1_delay", (0.0, FGS1_DELAY_SD_H))
    for visit in range(visits):
        put(f"t0_{visit}", (3.75, 10.0))
        sd[layout[f"fgs1_drift_{visit}"]] = FGS1_DRIFT_SD
        sd[layout[f"airs_drift_{visit}"]] = AIRS_DRIFT_SD
        if colour_order == 0:
            put(f"airs_colour_{visit}", (1.0, FIXED))
    if fixed:
        sd[layout["ln_a"]] = sd[layout["b"]] = FIXED
    darkening = limb.at(float(planet.stellar_temperature_k[0]))
    return replace(layout, mean=mean, sd=sd, limb_mean=darkening, limb_root=np.linalg.cholesky(limb.cov))


def white_fit(
    planet: PlanetLightCurves, row: Catalogue, prior: SpectralPrior, config: PhysfitConfig, fixed: bool = False
) -> Fit:
    """Fit white AIRS and FGS1 of all visits from the best starts of a grid. Raises FitError without usable samples."""
    series = without_spikes(series_of(planet, white=True), GROSS_SIGMA)
    if not any((one.weight > 0).sum() > 20 for one in series):
        raise FitError("fewer than 20 usable samples")
    layout = layout_for(row, prior.limb, len(planet.visits), config.drift_order, 0, fixed)
    period = float(row.period_days[0])
    mean, cov = (
        np.full(2, float(prior.level_mean)),
        float(prior.level_sd) ** 2 * np.ones((2, 2)) + (3e-4) ** 2 * np.eye(2),
    )
    fits = []
    for start in _starts(series, layout, period, float(prior.level_mean)):
        try:
            fits.append(gauss_newton(series, layout, start, period, mean, cov, FIRST_ITERATIONS))
        except FitError:
            continue
    if not fits:
        raise FitError("no start of the white fit converged")
    best = min(fits, key=lambda f: f.objective).state
    fit = gauss_newton(series, layout, best, period, mean, cov, config.max_iterations)
    cleaned, dropped = without(
        fit.series, fit.system.residuals, config.outlier_sigma * max(1.0, robust_sd(fit.system.residuals))
    )
    if dropped:
        fit = gauss_newton(cleaned, layout, fit.state, period, mean, cov, config.max_iterations)
    return fit


def _starts(series: list[Series], layout: Layout, period_days: float, level: float) -> list[State]:
    """Best states of a grid in a/Rs, impact parameter and mid-transit times; depth and drift solved linearly."""
    ranked = []
    for ln_a, impact in product(START_LN_A, START_IMPACTS):
        shared = layout.mean.copy()
        shared[layout["ln_a"]] += ln_a
        shared[layout["b"]] = impact
        cost = float((((shared - layout.mean) / layout.sd) ** 2).sum())
        depths = []
        for visit in sorted({one.visit for one in series}):
            gain = np.zeros(len(START_TIMES_H))
            amplitude = np.zeros(len(START_TIMES_H))
            seen = [one for one in series if one.visit == visit]
            for one in seen:
                template = _template(one.instrument, layout, shared, period_days, level)
                one_gain, one_amplitude = _matched(one, template)
                gain, amplitude = gain + one_gain, amplitude + one_amplitude / len(seen)
            best = int(np.argmax(np.where(amplitude > 0, gain, -np.inf)))
            shared[layout[f"t0_{visit}"]] = START_TIMES_H[best]
            cost -= gain[best]
            depths.append(amplitude[best] * level)
        ranked.append((cost, State(shared, np.full(2, np.clip(np.mean(depths), 5e-4, 0.15)))))
    return [state for _, state in sorted(ranked, key=lambda pair: pair[0])[:STARTS]]


def _matched(one: Series, template: Array) -> tuple[Array, Array]:
    """Fall of chi2 and amplitude when `template` is added to a cubic baseline, for each of START_TIMES_H."""
    root = np.sqrt(one.weight[:, 0])
    baseline, _ = np.linalg.qr(root[:, None] * legvander(one.time_h / one.time_h[-1] * 2 - 1, 3))
    shifted = root * np.interp(one.time_h - START_TIMES_H[:, None], TEMPLATE_TIMES_H, template)
    shifted = shifted - (shifted @ baseline) @ baseline.T
    data = root * one.flux[:, 0]
    data = data - baseline @ (baseline.T @ data)
    norm = (shifted**2).sum(1) + 1e-12 * (data @ data) + 1e-30
    overlap = shifted @ data
    return overlap**2 / norm, overlap / norm


def _template(instrument: str, layout: Layout, shared: Array, period_days: float, level: float) -> Array:
    """Transit signal of a planet of depth `level` at TEMPLATE_TIMES_H around mid-transit."""
    values = (
        0.0,
        period_days,
        np.exp(shared[layout["ln_a"]][0]),
        shared[layout["b"]][0],
        np.sqrt(level),
        *limb_coefficients(layout, shared)[[0, 1] if instrument == FGS1.name else [2, 5]],
    )
    arguments = (torch.tensor(value, dtype=torch.float64) for value in values)
    return transit_flux(torch.from_numpy(TEMPLATE_TIMES_H), *arguments).numpy() - 1


def joint_fit(
    planet: PlanetLightCurves,
    row: Catalogue,
    prior: SpectralPrior,
    config: PhysfitConfig,
    white: Fit,
    fixed: bool = False,
) -> tuple[Fit, Layout]:
    """Fit all channels together from the white fit: at full drift orders, then at the most probable ones.

    Returns the fit and the layout of full orders, which `driftorder.averaged` takes.
    """
    series = rescaled(series_of(planet, white=False))
    layout = layout_for(row, prior.limb, len(planet.visits), config.drift_order, config.colour_order, fixed)
    period = float(row.period_days[0])
    level = float(white.state.depth[1])
    mean, cov = prior.pooled(float(ln_scale_height_depth(row, np.array([level]))[0]), level)
    start, cleaned = _joint_start(series, layout, white, period, float(np.sqrt(np.diag(cov - cov.mean()).mean())))
    fit = gauss_newton(cleaned, layout, start, period, mean, cov, config.max_iterations)
    cleaned, _ = without(fit.series, fit.system.residuals, config.outlier_sigma)
    blocks, _ = best_choice(fit, layout)
    chosen, free = restricted(layout, blocks)
    chosen.sd[~free] = FIXED * layout.sd[~free]
    start = State(np.where(free, fit.state.shared, 0.0), fit.state.depth)
    return gauss_newton(cleaned, chosen, start, period, mean, cov, config.max_iterations), layout


def _joint_start(
    series: list[Series], layout: Layout, white: Fit, period_days: float, shape_sd: float
) -> tuple[State, list[Series]]:
    """White fit's state with the separable drift that the channels show; the series without gross outliers."""
    shared = layout.mean.copy()
    for name, where in white.layout.names.items():
        if name.startswith("airs_colour"):
            shared[layout[name].start] = 1.0
        else:
            shared[layout[name]] = white.state.shared[where]
    depth = np.full(N_BINS, white.state.depth[1])
    depth[0] = white.state.depth[0]
    state = State(shared.copy(), depth)
    residuals = normal_equations(series, layout, state, period_days).residuals
    series, _ = without(series, residuals, GROSS_SIGMA)
    for one in series:
        if one.instrument != FGS1.name:
            drift, colour = separable_start(one, layout, state, period_days, shape_sd)
            shared[layout[f"airs_drift_{one.visit}"]] = drift
            shared[layout[f"airs_colour_{one.visit}"]] = colour
    return State(shared, depth), series


def fit_planet(planet: PlanetLightCurves, row: Catalogue, prior: SpectralPrior, config: PhysfitConfig) -> PlanetFit:
    """Posterior of one planet's spectrum; never raises: see `fallback` in its diagnostics."""
    reasons = []
    for fallback, fixed in enumerate((False, True)):
        try:
            white = white_fit(planet, row, prior, config, fixed)
            fit, layout = joint_fit(planet, row, prior, config, white, fixed)
            return _combined(planet, row, prior, white, fit, averaged(fit, layout), fallback, "; ".join(reasons))
        except (FitError, np.linalg.LinAlgError) as error:
            reasons.append(str(error))
    return _population(planet, prior, "; ".join(reasons))


def measure_limb_darkening(
    planet: PlanetLightCurves, row: Catalogue, prior: SpectralPrior, config: PhysfitConfig, depth: Array
) -> Measured | None:
    """What a planet's light curves say of its star's limb darkening, its spectrum `depth` (283,) known.

    None where the planet cannot be fitted. The fit itself does not know `depth`: the linear model around it does.
    """
    try:
        fit, _ = joint_fit(planet, row, prior, config, white_fit(planet, row, prior, config))
    except (FitError, np.linalg.LinAlgError):
        return None
    system, layout, value = fit.system, fit.layout, fit.state.shared
    gradient = system.gradient_shared - system.cross.T @ (depth - fit.state.depth)
    other = np.setdiff1d(np.arange(len(value)), np.arange(len(value))[layout["limb"]])
    weight = layout.sd[other] ** -2.0
    matrix = system.shared[np.ix_(other, other)] + np.diag(weight)
    towards = gradient[other] - weight * (value[other] - layout.mean[other])
    across = system.shared[layout["limb"]][:, other]
    solved = np.linalg.solve(matrix, np.column_stack([across.T, towards]))
    precision = system.shared[layout["limb"], layout["limb"]] - across @ solved[:, :-1]
    pull = gradient[layout["limb"]] - across @ solved[:, -1]
    inverse = np.linalg.inv(layout.limb_root)
    precision = inverse.T @ (precision + precision.T) @ inverse / 2
    information = inverse.T @ pull + precision @ limb_coefficients(layout, value)
    return Measured(float(row.stellar_temperature_k[0]), precision, information)


def _combined(
    planet: PlanetLightCurves,
    row: Catalogue,
    prior: SpectralPrior,
    white: Fit,
    fit: Fit,
    likelihoods: list[Likelihood],
    fallback: int,
    reason: str,
) -> PlanetFit:
    """Likelihood and spectral prior meet."""
    level = float(np.clip(white.state.depth[1], 1e-4, 0.3))
    components = prior.components(float(ln_scale_height_depth(row, np.array([level]))[0]), level)
    mean, cov, weights = combine(likelihoods, components)
    if not (np.isfinite(mean).all() and np.isfinite(cov).all() and (np.diag(cov) > 0).all()):
        raise FitError("the posterior is not finite")
    diagnostics = _diagnostics(planet, row, white, fit, weights) | {"fallback": float(fallback)}
    return PlanetFit(mean, cov, diagnostics, _curves(planet, white, row), reason)


def _population(planet: PlanetLightCurves, prior: SpectralPrior, reason: str) -> PlanetFit:
    mean, cov = prior.population()
    return PlanetFit(mean, cov, {"fallback": 2.0, "visits": float(len(planet.visits))}, [], reason)


def _diagnostics(planet: PlanetLightCurves, row: Catalogue, white: Fit, fit: Fit, weights: Array) -> dict[str, float]:
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
        "unfamiliar": float(weights[len(AMPLITUDES) :].sum()),
    }


def _curves(planet: PlanetLightCurves, white: Fit, row: Catalogue) -> list[LightCurveFit]:
    curves = []
    for one in white.series:
        fitted = (one, white.layout, white.state, float(row.period_days[0]))
        weight, star = one.weight[:, 0], max(float(star_flux(*fitted)[0]), 1e-30)
        sigma = np.where(weight > 0, 1 / np.sqrt(np.maximum(weight, 1e-30)), np.inf)
        values = (array / star for array in (one.flux[:, 0], model_flux(*fitted)[:, 0], sigma))
        curves.append(LightCurveFit(planet.planet_id, one.visit, one.instrument, one.time_h, *values))
    return curves


def fit_planets(
    lightcurves: list[PlanetLightCurves],
    catalogue: Catalogue,
    prior: SpectralPrior,
    config: PhysfitConfig,
    events: EventLog | None = None,
    progress: bool = True,
    workers: int = 1,
) -> tuple[Posterior, list[LightCurveFit]]:
    """Fit all planets; rows of `catalogue` and `lightcurves` correspond. No planet's failure stops the others."""
    rows = [catalogue.take(slice(i, i + 1)) for i in range(len(lightcurves))]
    with parallel_config(backend="loky", inner_max_num_threads=1):
        jobs = (delayed(fit_planet)(*pair, prior, config) for pair in zip(lightcurves, rows, strict=True))
        running = Parallel(n_jobs=workers or -1, return_as="generator")(jobs)
        fits = list(tqdm(running, total=len(rows), desc="physical fit", unit="planet", disable=not progress))
    names = sorted({name for fit in fits for name in fit.diagnostics})
    ids = np.array([planet.planet_id for planet in lightcurves], np.int64)
    for planet_id, fit in zip(ids, fits, strict=True):
        if events is not None and fit.reason:
            events.emit("physfit", "fallback", planet_id=int(planet_id), reason=fit.reason)
    posterior = Posterior(
        planet_id=ids,
        mean=np.stack([fit.mean for fit in fits]),
        cov=np.stack([fit.cov for fit in fits]).astype(np.float32),
        diagnostics={name: np.array([fit.diagnostics.get(name, np.nan) for fit in fits]) for name in names},
    )
    return posterior, [curve for fit in fits for curve in fit.curves]
