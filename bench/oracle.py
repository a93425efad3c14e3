"""What a solver could reach at best on simulated planets: the ruler that the physical fit and v50 are held against.

The oracle knows each planet's true noise, limb darkening, orders and scales of its gain drift, and linearises the
simulator's own model at the true parameters. It does not know the depths, the drift's coefficients, mid-transit times,
a/Rs or the impact parameter: those have their generating distributions as prior and are marginalised exactly. Its
spectral prior is learnt from many more spectra of the generating family than the competition has planets.
"""

from dataclasses import replace

import numpy as np

from kitlib.combination import Likelihood, combine
from kitlib.instruments import AIRS, INSTRUMENTS, N_BINS
from kitlib.prior import SpectralPrior, ln_scale_height_depth
from kitlib.products import Array, PlanetLightCurves, Posterior
from kitlib.simulate.lightcurves import Truth, sample_times, transit_model
from kitlib.simulate.systems import CATALOGUE_INCLINATION_SD_DEG, CATALOGUE_LN_SMA_SD, Systems, observed_catalogue
from kitlib.simulate.visits import MAX_TIMING_OFFSET_H, Drift

STEP_DEPTH, STEP_LN_A, STEP_B, STEP_T0_H = 1e-5, 1e-3, 1e-3, 1e-3  # central differences
FREE_T0_H = 1.0  # prior width of the mid-transit time: as good as free


def oracle(planets: list[PlanetLightCurves], truths: list[Truth], systems: Systems, prior: SpectralPrior) -> Posterior:
    """Posterior of each planet's spectrum given everything but what has to be measured."""
    means, covs = [], []
    exact = observed_catalogue(systems, np.random.default_rng(0))
    exact = replace(exact, **{name: getattr(systems, name) for name in ("stellar_radius_rsun", "planet_mass_mjup")})
    exact = replace(exact, semi_major_axis_rs=systems.semi_major_axis_rs)
    height = ln_scale_height_depth(exact, systems.depth_level)
    for i, (planet, truth) in enumerate(zip(planets, truths, strict=True)):
        likelihood = _likelihood(planet, truth, systems.take(np.array([i])))
        components = prior.components(float(height[i]), float(systems.depth_level[i]))
        mean, cov, _ = combine([likelihood], components)
        means.append(mean)
        covs.append(cov)
    ids = np.array([planet.planet_id for planet in planets], np.int64)
    return Posterior(ids, np.stack(means), np.stack(covs).astype(np.float32), {})


def _likelihood(planet: PlanetLightCurves, truth: Truth, system: Systems) -> Likelihood:
    """What the light curves say of the depths; all else has its generating prior."""
    columns: list[tuple[str, float]] = []  # name and prior standard deviation of each shared parameter

    def index(name: str, sd: float) -> int:
        if (name, sd) not in columns:
            columns.append((name, sd))
        return columns.index((name, sd))

    blocks = []
    impact_sd = float(system.semi_major_axis_rs[0]) * np.radians(CATALOGUE_INCLINATION_SD_DEG)
    shared = [("ln_a", CATALOGUE_LN_SMA_SD), ("b", impact_sd)]
    for number, (curves, visit) in enumerate(zip(planet.visits, truth.visits, strict=True)):
        for instrument in INSTRUMENTS:
            name = instrument.name
            bins = slice(1, N_BINS) if instrument is AIRS else slice(0, 1)
            slopes = _transit_slopes(system, truth.depth, visit.visit.t0_h[name], curves[name], bins)
            gain, transit = visit.gain[name], visit.transit[name]
            shared_columns = {index(*pair): gain * slopes[pair[0]] for pair in shared}
            shared_columns[index(f"t0_{number}", FREE_T0_H)] = gain * slopes["t0"]
            if instrument is not AIRS:
                shared_columns[index("delay", MAX_TIMING_OFFSET_H / np.sqrt(3))] = gain * slopes["t0"]
            for k, (basis, sd) in enumerate(
                _drift_slopes(visit.visit.drift[name], curves[name].time_h, instrument.n_bins)
            ):
                shared_columns[index(f"{name}_{number}_{k}", sd)] = basis * transit
            star = truth.star_flux_e[bins]
            model, weight = gain * transit, (star / visit.noise_sd_e[name]) ** 2
            flux = curves[name].flux_e / star
            weight = np.where(
                np.abs(flux - model) * np.sqrt(weight) < 5, weight, 0.0
            )  # it knows outliers when it sees them
            blocks.append((bins, shared_columns, gain * slopes["depth"], model, flux - model, weight))
    return _marginalise(blocks, np.array([sd for _, sd in columns]), truth.depth)


def _transit_slopes(system: Systems, depth: Array, t0_h: float, curve, bins: slice) -> dict[str, Array]:
    """Derivatives of the transit, averaged over each sample, each (T, W)."""
    fine = sample_times(curve.instrument, int(curve.pairs.sum()), len(curve.time_h))[2]

    def mean(changed: Systems = system, spectrum: Array = depth, t0: float = t0_h) -> Array:
        return transit_model(changed, spectrum, t0, fine, bins)

    def moved(a: float, b: float) -> Systems:
        factor = np.exp(a)
        return replace(system, semi_major_axis_rs=system.semi_major_axis_rs * factor, impact=np.abs(system.impact + b))

    return {
        "depth": (mean(spectrum=depth + STEP_DEPTH) - mean(spectrum=depth - STEP_DEPTH)) / (2 * STEP_DEPTH),
        "ln_a": (mean(moved(STEP_LN_A, 0)) - mean(moved(-STEP_LN_A, 0))) / (2 * STEP_LN_A),
        "b": (mean(moved(0, STEP_B)) - mean(moved(0, -STEP_B))) / (2 * STEP_B),
        "t0": (mean(t0=t0_h + STEP_T0_H) - mean(t0=t0_h - STEP_T0_H)) / (2 * STEP_T0_H),
    }


def _drift_slopes(drift: Drift, time_h: Array, bins: int) -> list[tuple[Array, float]]:
    """Derivatives of the gain with respect to the drift's coefficients (T, W), and their prior standard deviations."""
    found = []
    uniform = 1 / np.sqrt(3)  # of a coefficient in (-1, 1), before its polynomial is scaled to rms 1
    scales = {"time": uniform * np.abs(drift.time).max(), "column": uniform * np.abs(drift.column).max()}
    for part, coefficients in (("time", drift.time), ("column", drift.column)):
        first = 1 if part == "time" else 0  # a constant in time is the star's own level
        for power in range(first, len(coefficients)):
            unit = np.zeros(len(coefficients))
            unit[power] = 1.0
            slope = replace(drift, **{part: unit}).gain(time_h, bins) - 1
            found.append((slope, float(scales[part])))
    return found


def _marginalise(blocks: list, sd: Array, depth: Array) -> Likelihood:
    """The linear model around the truth, each bin's level eliminated."""
    shared = np.diag(sd**-2.0)
    cross, own = np.zeros((N_BINS, len(sd))), np.zeros(N_BINS)
    gradient_shared, gradient = np.zeros(len(sd)), np.zeros(N_BINS)
    for bins, columns, slope, model, residual, weight in blocks:
        norm = (weight * model**2).sum(0)

        def free_of_level(values: Array, weight=weight, model=model, norm=norm) -> Array:
            return values - model * ((weight * values * model).sum(0) / norm)

        slope, residual = free_of_level(slope), free_of_level(residual)
        names = list(columns)
        design = np.stack([free_of_level(columns[name]) for name in names])  # (S', T, W)
        shared[np.ix_(names, names)] += np.einsum("atw,btw,tw->ab", design, design, weight, optimize=True)
        cross[bins, names] = cross[bins, names] + np.einsum("atw,tw,tw->wa", design, slope, weight, optimize=True)
        own[bins] += (weight * slope**2).sum(0)
        gradient_shared[names] += np.einsum("atw,tw,tw->a", design, residual, weight, optimize=True)
        gradient[bins] += (weight * slope * residual).sum(0)
    around = Likelihood(1.0, own, cross, shared, gradient - cross @ np.linalg.solve(shared, gradient_shared))
    return replace(around, information=around.information + around.times(depth[:, None])[:, 0])
