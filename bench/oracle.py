"""What a solver could reach at best on simulated planets: the ruler that the physical fit and v50 are held against.

The oracle knows each planet's true noise, limb darkening, orders and scales of its gain drift, and linearises the
simulator's own model at the true parameters. It does not know the depths, the drift's coefficients, mid-transit times,
a/Rs or the impact parameter: those have their generating distributions as prior and are marginalised exactly. Its
spectral prior is learnt from many more spectra of the generating family than the competition has planets.

Of its world the oracle knows excursions' loss of light, neighbours' share, where gaps are, that the drift has a second
term, what the place of the star within a pixel does, and how much a level may err; not by how much it does.

No file of the competition says how dark a star's limb is. The oracle of unknown stars has to find that out as a solver
has: limb darkening and geometry have the generating distribution around the population's mean and the catalogue's
values, not around the truth. What lies between the two oracles is beyond anyone who is given the competition's files.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from kitlib.base.instruments import AIRS, INSTRUMENTS, N_BINS
from kitlib.base.products import Array, Catalogue, LightCurve, PlanetLightCurves, Posterior
from kitlib.simulate.lightcurves import Truth, sample_times, transit_model
from kitlib.simulate.systems import (
    AIRS_CURVED_SD,
    AIRS_STEEP,
    CATALOGUE_INCLINATION_SD_DEG,
    CATALOGUE_LN_SMA_SD,
    FGS1_CURVED_SD,
    FGS1_STEEP,
    Systems,
    limb_darkening_fields,
    observed_catalogue,
)
from kitlib.simulate.visits import MAX_TIMING_OFFSET_H, Drift, Visit
from kitlib.spectra.combination import Hypothesis, Likelihood, combine
from kitlib.spectra.prior import SpectralPrior, ln_scale_height_depth

STEP_DEPTH, STEP_LN_A, STEP_B, STEP_T0_H = 1e-5, 1e-3, 1e-3, 1e-3  # central differences
STEP_LIMB = 0.2  # of a prior's standard deviation
# A star's limb darkening: eight standard deviates, then the departures from the quadratic law (means of uniforms)
LIMB_MEAN = np.array([0.0] * 8 + [np.mean(FGS1_STEEP), 0.0, np.mean(AIRS_STEEP), 0.0])
LIMB_SD = np.array(
    [1.0] * 8 + [np.ptp(FGS1_STEEP) / np.sqrt(12), FGS1_CURVED_SD, np.ptp(AIRS_STEEP) / np.sqrt(12), AIRS_CURVED_SD]
)
FREE_T0_H = 1.0  # prior width of the mid-transit time: as good as free


@dataclass
class _Shared:
    """Names of what a planet's bins share and nobody knows, prior standard deviations, prior means less the truth."""

    names: list[str] = field(default_factory=list)
    sd: list[float] = field(default_factory=list)
    offset: list[float] = field(default_factory=list)

    def index(self, name: str, sd: float, offset: float = 0.0) -> int:
        """Where the parameter is; it is added when it is new."""
        if name not in self.names:
            self.names.append(name)
            self.sd.append(sd)
            self.offset.append(offset)
        return self.names.index(name)


def oracle(
    planets: list[PlanetLightCurves],
    truths: list[Truth],
    systems: Systems,
    prior: SpectralPrior,
    catalogue: Catalogue | None = None,
) -> Posterior:
    """Posterior of each planet's spectrum given everything but what has to be measured.

    With `catalogue`, what a solver is given, stars are unknown: the module's docstring says what that means.
    """
    means, covs = [], []
    exact = observed_catalogue(systems, np.random.default_rng(0))
    exact = replace(exact, **{name: getattr(systems, name) for name in ("stellar_radius_rsun", "planet_mass_mjup")})
    exact = replace(exact, semi_major_axis_rs=systems.semi_major_axis_rs)
    height = ln_scale_height_depth(exact if catalogue is None else catalogue, systems.depth_level)
    for i, (planet, truth) in enumerate(zip(planets, truths, strict=True)):
        row = None if catalogue is None else catalogue.take(slice(i, i + 1))
        likelihood = _likelihood(planet, truth, systems.take(np.array([i])), row)
        components = prior.components(float(height[i]), float(systems.depth_level[i]))
        mean, cov, _ = combine(likelihood, components)
        means.append(mean)
        covs.append(cov)
    ids = np.array([planet.planet_id for planet in planets], np.int64)
    return Posterior(ids, np.stack(means), np.stack(covs).astype(np.float32), {})


def _likelihood(planet: PlanetLightCurves, truth: Truth, system: Systems, row: Catalogue | None) -> Likelihood:
    """What the light curves say of the depths; all else has its generating prior, around the truth without a `row`."""
    known, blocks = _Shared(), []
    impact_sd = float(system.semi_major_axis_rs[0]) * np.radians(CATALOGUE_INCLINATION_SD_DEG)
    off = (0.0, 0.0) if row is None else _catalogue_errors(row, system)
    known.index("ln_a", CATALOGUE_LN_SMA_SD, off[0])
    known.index("b", impact_sd, off[1])
    for number, (curves, visit) in enumerate(zip(planet.visits, truth.visits, strict=True)):
        for instrument in INSTRUMENTS:
            name = instrument.name
            bins = slice(1, N_BINS) if instrument is AIRS else slice(0, 1)
            t0_h, curve = visit.visit.t0_h[name], curves[name]
            slopes = _transit_slopes(system, truth.depth, t0_h, curve, bins)
            other = visit.neighbour[name]
            reached = visit.visit.throughput(curve.time_h) * visit.pointing[name]
            passed = (1 - other) * reached[:, None]  # of the target's light
            gain, transit = passed * visit.gain[name], visit.transit[name]
            columns = {known.names.index(part): gain * slopes[part] for part in ("ln_a", "b")}
            columns[known.index(f"t0_{number}", FREE_T0_H)] = gain * slopes["t0"]
            if instrument is not AIRS:
                columns[known.index("delay", MAX_TIMING_OFFSET_H / np.sqrt(3))] = gain * slopes["t0"]
            if row is not None:
                slopes_of_limb = _limb_slopes(system, row.stellar_temperature_k, truth.depth, t0_h, curve, bins)
                for part, sd, offset, slope in slopes_of_limb:
                    columns[known.index(part, sd, offset)] = gain * slope
            for k, (basis, sd) in enumerate(_drift_slopes(visit.visit.drift[name], curve.time_h, instrument.n_bins)):
                columns[known.index(f"{name}_{number}_{k}", sd)] = passed * basis * transit
            common = truth.world.level_error_common
            for part, share in (("level", common), (f"level_{name}_{number}", 1 - common)):
                sd = truth.world.level_error_sd * np.sqrt(share)
                if sd > 0:
                    columns[known.index(part, sd)] = gain * (transit - 1)
            star = truth.star_flux_e[bins]
            model, weight = gain * transit + other, (star / visit.noise_sd_e[name]) ** 2
            weight[_gaps(visit.visit, curve)] = 0
            flux = curve.flux_e / star
            weight = np.where(
                np.abs(flux - model) * np.sqrt(weight) < 5, weight, 0.0
            )  # it knows outliers when it sees them
            blocks.append((bins, columns, gain * slopes["depth"], model, flux - model, weight))
    return _marginalise(blocks, np.array(known.sd), np.array(known.offset), truth.depth)


def _catalogue_errors(row: Catalogue, system: Systems) -> tuple[float, float]:
    """How far the catalogue's ln a/Rs and impact parameter are from the truth."""
    a = float(row.semi_major_axis_rs[0])
    impact = a * np.cos(np.radians(float(row.inclination_deg[0])))
    return float(np.log(a / system.semi_major_axis_rs[0])), float(impact - system.impact[0])


def _limb_slopes(
    system: Systems, temperature_k: Array, depth: Array, t0_h: float, curve: LightCurve, bins: slice
) -> list[tuple[str, float, float, Array]]:
    """For each of a star's twelve limb-darkening numbers: name, prior sd, prior mean less truth, derivative (T, W).

    The numbers are counted from what is usual at the catalogue's temperature.
    """
    fine = sample_times(curve.instrument, int(curve.pairs.sum()), len(curve.time_h))[2]

    def star(numbers: Array) -> Systems:
        known = limb_darkening_fields(temperature_k, numbers[:8, None], numbers[None, 8:])
        return replace(system, **known)

    def flat(one: Systems) -> Array:
        return np.concatenate([one.ld_fgs1[0], one.ld_airs[0], one.ld_steep[0]])

    base = flat(star(np.zeros(12)))
    linear = np.stack([flat(star(unit)) - base for unit in np.eye(12)], axis=1)
    truth = np.linalg.solve(linear, flat(system) - base)
    found = []
    for k, (mean, sd) in enumerate(zip(LIMB_MEAN, LIMB_SD, strict=True)):
        step = STEP_LIMB * sd * np.eye(12)[k]
        ends = [transit_model(star(truth + side * step), depth, t0_h, fine, bins) for side in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * STEP_LIMB * sd)
        found.append((f"limb_{k}", float(sd), float(mean - truth[k]), slope))
    return found


def _transit_slopes(system: Systems, depth: Array, t0_h: float, curve: LightCurve, bins: slice) -> dict[str, Array]:
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


def _gaps(visit: Visit, curve: LightCurve) -> Array:
    """The samples that a gap reaches into, (T,)."""
    fine = sample_times(curve.instrument, int(curve.pairs.sum()), len(curve.time_h))[2]
    reached = [gap.holds(fine).any(axis=1) for gap in visit.gaps if curve.instrument.name in gap.instruments]
    return np.any(reached, axis=0) if reached else np.zeros(len(fine), bool)


def _drift_slopes(drift: Drift, time_h: Array, bins: int) -> list[tuple[Array, float]]:
    """Derivatives of the gain with respect to the drift's coefficients (T, W), and their prior standard deviations."""
    found = [] if drift.second is None else _drift_slopes(drift.second, time_h, bins)
    drift = replace(drift, second=None)
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


def _marginalise(blocks: list, sd: Array, offset: Array, depth: Array) -> Likelihood:
    """The linear model around the truth, each bin's level eliminated; shared parameters ~ N(truth + offset, sd^2)."""
    shared = np.diag(sd**-2.0)
    cross, own = np.zeros((N_BINS, len(sd))), np.zeros(N_BINS)
    gradient_shared, gradient = offset * sd**-2.0, np.zeros(N_BINS)
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
    known = Hypothesis(0.0, np.ones(len(sd), bool), shared, np.linalg.solve(shared, gradient_shared))
    return Likelihood(depth, own, cross, gradient, (known,))
