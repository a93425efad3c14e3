"""Physical transit fit: white light first, then all 283 bins jointly, to a posterior over the whole spectrum.

1. White: AIRS summed over wavelength and FGS1, all visits; grid of mid-transit times and impact parameters, linear
   solution at each, then Gauss-Newton from the best starts.
2. Joint: Gauss-Newton over geometry, limb darkening, drift (low order in time x channel) and 283 depths at once.
3. The likelihood, marginalised over everything but the depths, meets the spectral prior in closed form.

A planet that resists falls back in steps, each counted in diagnostics["fallback"]: 0 joint fit; 1 joint fit at the
catalogue's geometry; 2 the population prior.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.polynomial.legendre import legvander
from tqdm import tqdm

from .config import PhysfitConfig
from .gaussnewton import Fit, FitError, gauss_newton
from .instruments import FGS1, N_BINS
from .prior import SpectralPrior, combine, ln_scale_height_depth
from .products import Array, Catalogue, PlanetLightCurves, Posterior
from .provenance import EventLog
from .transit import transit_duration_h, transit_flux
from .visitmodel import Layout, Series, State, model_flux, parameter_layout, series_of, without

# Priors on what the light curve knows little about. [F]: FACTS of the competition's data, published by its winner.
LN_A_SD = 0.064  # scatter of the catalogue's a/Rs [F]
IMPACT_SD = 0.15  # of the catalogue's impact parameter: its scatter is not published, so wide
FGS1_DELAY_SD_H = 0.0075  # FGS1 and AIRS mid-transit differ by at most 0.015 h [F]
FGS1_U1_SD, FGS1_U2 = 0.04, (0.155, 0.055)  # u1 = 0.41 - 1e-4 (Ts - 5840 K) explains 83 % [F]
AIRS_U1, AIRS_U2 = (
    ((0.125, 0.028), (-0.05, 0.02), (0.0, 0.01)),
    ((0.10, 0.045), (-0.02, 0.02)),
)  # Legendre, mean and sd [F]
AIRS_DRIFT_SD, FGS1_DRIFT_SD = 4e-4, 3e-3  # of each Legendre coefficient [F: rms over a visit]
START_IMPACTS = (0.1, 0.45, 0.75)  # of the white fit's grid, besides the catalogue's
STARTS = 3
CATALOGUE_GEOMETRY = ("ln_a", "b")  # held at the catalogue's values by the first fallback


@dataclass(frozen=True)
class LightCurveFit:
    """One fitted light curve, for the report: white AIRS or FGS1 of one visit."""

    planet_id: int
    visit: int
    instrument: str
    time_h: Array  # (T,)
    flux: Array  # (T,) normalised
    model: Array  # (T,)
    sigma: Array  # (T,) inf where there is no sample


@dataclass(frozen=True)
class PlanetFit:
    """Result for one planet."""

    mean: Array  # (283,)
    cov: Array  # (283, 283)
    diagnostics: dict[str, float]
    curves: list[LightCurveFit]
    reason: str  # why it fell back; "" when it did not


def layout_for(planet: Catalogue, visits: int, order: int, channel_order: int) -> Layout:
    """State vector and priors of one planet; `planet` is its catalogue row."""
    layout = parameter_layout(visits, order, channel_order)
    mean, sd = layout.mean.copy(), layout.sd.copy()

    def put(name: str, *values: tuple[float, float]) -> None:
        mean[layout[name]], sd[layout[name]] = np.array(values).T

    a, inclination = float(planet.semi_major_axis_rs[0]), float(planet.inclination_deg[0])
    put("ln_a", (np.log(a), LN_A_SD))
    put("b", (min(a * abs(np.cos(np.radians(inclination))), 0.95), IMPACT_SD))
    put("fgs1_delay", (0.0, FGS1_DELAY_SD_H))
    put("fgs1_u1", (0.41 - 1e-4 * (float(planet.stellar_temperature_k[0]) - 5840), FGS1_U1_SD))
    put("fgs1_u2", FGS1_U2)
    put("airs_u1", *AIRS_U1)
    put("airs_u2", *AIRS_U2)
    for visit in range(visits):
        put(f"t0_{visit}", (3.75, 10.0))
        sd[layout[f"fgs1_drift_{visit}"]] = FGS1_DRIFT_SD
        sd[layout[f"airs_drift_{visit}"]] = AIRS_DRIFT_SD
    return replace(layout, mean=mean, sd=sd)


def white_fit(
    planet: PlanetLightCurves, row: Catalogue, prior: SpectralPrior, config: PhysfitConfig, frozen: tuple[str, ...] = ()
) -> Fit:
    """Fit white AIRS and FGS1 of all visits from the best starts of a grid. Raises FitError without usable samples."""
    series = series_of(planet, white=True)
    if not any((one.weight > 0).sum() > 20 for one in series):
        raise FitError("fewer than 20 usable samples")
    layout = layout_for(row, len(planet.visits), config.drift_order, 0)
    period = float(row.period_days[0])
    mean, cov = (
        np.full(2, float(prior.level_mean)),
        float(prior.level_sd) ** 2 * np.ones((2, 2)) + (3e-4) ** 2 * np.eye(2),
    )
    fits = []
    for start in _starts(series, layout, period, float(prior.level_mean)):
        try:
            fits.append(gauss_newton(series, layout, start, period, mean, cov, config.max_iterations, frozen))
        except FitError:
            continue
    if not fits:
        raise FitError("no start of the white fit converged")
    fit = min(fits, key=lambda f: f.objective)
    cleaned, dropped = without(fit.series, fit.residuals, config.outlier_sigma * max(1.0, _robust_sd(fit.residuals)))
    if dropped:
        fit = gauss_newton(cleaned, layout, fit.state, period, mean, cov, config.max_iterations, frozen)
    return fit


def _robust_sd(residuals: list[Array]) -> float:
    values = np.concatenate([r[r != 0].ravel() for r in residuals])
    return float(1.4826 * np.median(np.abs(values))) if len(values) else 1.0


def _starts(series: list[Series], layout: Layout, period_days: float, level: float) -> list[State]:
    """Best states of a grid in mid-transit time (each visit) and impact parameter; depth and drift solved linearly."""
    impacts = sorted({round(float(layout.mean[layout["b"]][0]), 3), *START_IMPACTS})
    visits = sorted({one.visit for one in series})
    ranked = []
    for impact in impacts:
        shared = layout.mean.copy()
        shared[layout["b"]] = impact
        prior_cost = float((((shared - layout.mean) / layout.sd) ** 2).sum())
        chi2, depths = 0.0, []
        for visit in visits:
            best = min(
                (_template_chi2([s for s in series if s.visit == visit], layout, shared, t0, period_days, level), t0)
                for t0 in np.arange(1.5, 6.01, 0.1)
            )
            (cost, depth), shared[layout[f"t0_{visit}"]] = best
            chi2 += cost
            depths.append(depth)
        ranked.append((chi2 + prior_cost, State(shared, np.full(2, np.clip(np.mean(depths), 5e-4, 0.15)))))
    return [state for _, state in sorted(ranked, key=lambda pair: pair[0])[:STARTS]]


def _template_chi2(series, layout, shared, t0, period_days, level) -> tuple[float, float]:
    """chi2 and depth of a linear fit of baseline polynomial and transit template at one mid-transit time."""
    chi2, depths, weights = 0.0, [], []
    for one in series:
        trial = shared.copy()
        trial[layout[f"t0_{one.visit}"]] = t0
        template = _template(one, layout, trial, period_days, level)
        design = np.column_stack([legvander(one.time_h / one.time_h[-1] * 2 - 1, 3), template])
        root = np.sqrt(one.weight[:, 0])
        solution, *_ = np.linalg.lstsq(design * root[:, None], one.flux[:, 0] * root, rcond=None)
        residual = root * (one.flux[:, 0] - design @ solution)
        chi2 += float(residual @ residual)
        depths.append(solution[-1] * level)
        weights.append(root.sum())
    depth = float(np.average(depths, weights=weights)) if sum(weights) else 0.0
    return (chi2 if depth > 0 else chi2 + 1e12), depth


def _template(one: Series, layout: Layout, shared: Array, period_days: float, level: float) -> Array:
    """Transit signal per unit of depth / level, (T,)."""

    def t(value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64)

    prefix = "fgs1" if one.instrument == FGS1.name else "airs"
    flux = transit_flux(
        torch.from_numpy(one.time_h),
        t(shared[layout[f"t0_{one.visit}"]][0]),
        t(period_days),
        t(np.exp(shared[layout["ln_a"]][0])),
        t(shared[layout["b"]][0]),
        t(np.sqrt(level)),
        t(shared[layout[f"{prefix}_u1"]][0]),
        t(shared[layout[f"{prefix}_u2"]][0]),
    )
    return flux.numpy() - 1


def joint_fit(
    planet: PlanetLightCurves,
    row: Catalogue,
    prior: SpectralPrior,
    config: PhysfitConfig,
    white: Fit,
    frozen: tuple[str, ...] = (),
) -> Fit:
    """Fit all channels together, starting from the white fit."""
    series = _rescaled(series_of(planet, white=False))
    layout = layout_for(row, len(planet.visits), config.drift_order, config.drift_wavelength_order)
    shared = layout.mean.copy()
    for name, where in white.layout.names.items():
        if name.startswith("airs_drift"):
            shared[layout[name]].reshape(config.drift_order, -1)[:, 0] = white.state.shared[where]
        else:
            shared[layout[name]] = white.state.shared[where]
    depth = np.full(N_BINS, white.state.depth[1])
    depth[0] = white.state.depth[0]
    level = float(white.state.depth[1])
    mean, cov = prior.pooled(float(ln_scale_height_depth(row, np.array([level]))[0]))
    period = float(row.period_days[0])
    fit = gauss_newton(series, layout, State(shared, depth), period, mean, cov, config.max_iterations, frozen)
    cleaned, dropped = without(fit.series, fit.residuals, config.outlier_sigma)
    if dropped:
        fit = gauss_newton(cleaned, layout, fit.state, period, mean, cov, config.max_iterations, frozen)
    return fit


def _rescaled(series: list[Series]) -> list[Series]:
    """Inflate a channel's variance where its sample-to-sample scatter exceeds it (differences ignore transit and drift)."""
    scaled = []
    for one in series:
        root = np.sqrt(one.weight)
        pair = (root[1:] > 0) & (root[:-1] > 0)
        difference = np.where(pair, np.diff(one.flux, axis=0), 0.0)
        expected = np.sqrt(
            np.where(pair, 1 / np.maximum(one.weight[1:], 1e-30) + 1 / np.maximum(one.weight[:-1], 1e-30), 1.0)
        )
        z = np.where(pair, np.abs(difference / expected), np.nan)
        counts = pair.sum(0)
        seen = counts > 20
        if seen.any():
            ratio = np.ones(z.shape[1])
            ratio[seen] = (1.4826 * np.nanmedian(z[:, seen], axis=0)) ** 2
            common = max(float(np.median(ratio[seen])), 1.0)
            # the ratio of n samples scatters by 1.65 / sqrt(n): only clear excess is a channel's own
            own = ratio > common * (1 + 3 * 1.65 / np.sqrt(np.maximum(counts, 1)))
            one = replace(one, weight=one.weight / np.where(own, ratio, common))
        scaled.append(one)
    return scaled


def fit_planet(planet: PlanetLightCurves, row: Catalogue, prior: SpectralPrior, config: PhysfitConfig) -> PlanetFit:
    """Posterior of one planet's spectrum; never raises: see `fallback` in its diagnostics."""
    reasons = []
    for fallback, frozen in enumerate(((), CATALOGUE_GEOMETRY)):
        try:
            white = white_fit(planet, row, prior, config, frozen)
            fit = joint_fit(planet, row, prior, config, white, frozen)
            return _combined(planet, row, prior, white, fit, fallback, "; ".join(reasons))
        except (FitError, np.linalg.LinAlgError) as error:
            reasons.append(str(error))
    return _population(planet, prior, "; ".join(reasons))


def _combined(
    planet: PlanetLightCurves, row: Catalogue, prior: SpectralPrior, white: Fit, fit: Fit, fallback: int, reason: str
) -> PlanetFit:
    """Likelihood and spectral prior meet."""
    level = float(np.clip(white.state.depth[1], 1e-4, 0.3))
    components = prior.components(float(ln_scale_height_depth(row, np.array([level]))[0]))
    mean, cov, weights = combine(fit.precision, fit.information, components)
    if not (np.isfinite(mean).all() and np.isfinite(cov).all() and (np.diag(cov) > 0).all()):
        raise FitError("the posterior is not finite")
    diagnostics = _diagnostics(planet, row, white, fit, weights) | {"fallback": float(fallback)}
    return PlanetFit(mean, cov, diagnostics, _curves(planet, white, row), reason)


def _population(planet: PlanetLightCurves, prior: SpectralPrior, reason: str) -> PlanetFit:
    mean, cov = prior.pooled(0.0)
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
    flat = np.concatenate([r[:, 0][r[:, 0] != 0] for r in white.residuals])
    return {
        "visits": float(len(planet.visits)),
        "missing_contact": float(any(t < start + 0.1 or t + 2 * half > end - 0.1 for t in first)),
        "chi2_white": white.chi2 / max(white.samples, 1),
        "chi2_joint": fit.chi2 / max(fit.samples, 1),
        "autocorrelation": float(flat[1:] @ flat[:-1] / max(flat @ flat, 1e-30)),
        "duration_h": 2 * half,
        "t0_h": of("t0_0"),
        "a_over_rs": float(np.exp(of("ln_a"))),
        "impact_param": abs(of("b")),
        "level": float(fit.state.depth[1:].mean()),
        "amplitude_grid": float(weights @ np.arange(len(weights))),
    }


def _curves(planet: PlanetLightCurves, white: Fit, row: Catalogue) -> list[LightCurveFit]:
    curves = []
    for one in white.series:
        model = model_flux(one, white.layout, white.state, float(row.period_days[0]))[:, 0]
        weight = one.weight[:, 0]
        sigma = np.where(weight > 0, 1 / np.sqrt(np.maximum(weight, 1e-30)), np.inf)
        curves.append(
            LightCurveFit(planet.planet_id, one.visit, one.instrument, one.time_h, one.flux[:, 0], model, sigma)
        )
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
    """Fit all planets; rows of `catalogue` and `lightcurves` correspond. One planet's failure never stops the others."""

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
