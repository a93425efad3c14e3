"""Light curves straight from the physics, without frames: star x drift x limb-darkened transit + the frames' noise.

For pre-training and benchmarks at scale. The noise per sample is what optimal extraction of the simulated frames
leaves; `variance_e2` is what a pipeline would estimate from photons, background and read noise, not the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import batman
import numpy as np
from numpy.typing import NDArray

from ..base.instruments import AIRS, FGS1, INSTRUMENTS, N_BINS, Instrument
from ..base.products import Array, LightCurve, PlanetLightCurves
from .optics import star_flux
from .residue import dilution, light_shares, pointing_residue, with_repeated_frames
from .systems import Systems, limb_darkening
from .visits import JITTER_PX, PX_PER_FGS1_PX, Visit, autoregressive, draw_visits, pair_times_h
from .worlds import OWN, WorldDraw

BATMAN_STEP = 0.008  # batman's integration step factor: 0.1 ppm of the whole, two discs of five being integrated
# Discs that shine as mu^(m/2), m = 0..4, in batman's laws. Its quadratic law is a closed formula, 40 times as fast as
# the integrated one and good to 0.1 ppm, unless separation and radius agree to 1e-11 (160 ppm), which no node will.
BASIS_DISCS: tuple[tuple[str, list[float]], ...] = (
    ("quadratic", [0.0, 0.0]),
    ("nonlinear", [1.0, 0.0, 0.0, 0.0]),
    ("quadratic", [1.0, 0.0]),
    ("nonlinear", [0.0, 0.0, 1.0, 0.0]),
    ("quadratic", [2.0, -1.0]),
)
SEPARATION_POINTS = (14, 16)  # where batman is evaluated: planet inside the disc, planet across the limb
# Optimal extraction of simulated frames with true maps is within 1 % of `pair_variance`; imperfect weights cost 2-3 %.
# (Real curves, summed over many rows, scatter by 1.06-1.16 x photon noise and 1.45 x in the red; so do such sums here.)
EXCESS_NOISE = {AIRS.name: 1.02, FGS1.name: 1.03}
RED_NOISE = {AIRS.name: 1e-5, FGS1.name: 2e-5}  # pointing through residual flat errors, relative, common to all bins
RED_NOISE_TIME_H = 0.15
OUTLIER_RATE = 2e-5  # per sample and bin: what survives cleaning, up to 50 % high
READ_NOISE_E, DARK_E_PER_S = 13.0, 0.0065
MASKED = {False: 0.010, True: 0.025}  # dead and hot pixels, ordinary and degraded detectors


@dataclass(frozen=True)
class VisitTruth:
    """What an oracle may know of one visit; dictionaries by instrument name."""

    visit: Visit
    transit: dict[str, Array]  # (T, W) relative flux at the true depth, mean over each sample
    gain: dict[str, Array]  # (T, W)
    neighbour: dict[str, Array]  # (W,) share of the light, out of transit, that comes from another star
    noise_sd_e: dict[str, Array]  # (T, W) white noise, electrons
    red_noise: dict[str, Array]  # (T,) relative, as realised
    pointing: dict[str, Array]  # (T,) relative flux by the star's place within a pixel


@dataclass(frozen=True)
class Truth:
    """What an oracle may know of one planet."""

    planet_id: int
    depth: Array  # (283,)
    limb_darkening: Array  # (283, 4) non-linear law
    star_flux_e: Array  # (283,) electrons per CDS pair out of transit, a neighbour's included
    visits: tuple[VisitTruth, ...]
    world: WorldDraw


def transit_model(system: Systems, depth: Array, t0_h: float, times_h: Array, bins: slice | None = None) -> Array:
    """Relative flux during a transit, (T, W): instantaneous, or the mean over several moments.

    Flux is linear in the limb-darkening coefficients, so batman computes five basis discs (uniform and mu^(m/2)) on a
    few radii, between which every bin is interpolated.

    Args:
        system: one system (`Systems.take([i])`).
        depth: (283,) its spectrum.
        t0_h: mid-transit, hours, on the scale of `times_h`.
        times_h: moments (T,), or (T, n) for the mean over n moments of each sample.
        bins: part of the 283 bins, all by default.
    """
    if bins is None:  # FGS1 lies apart from AIRS: one interpolation over both would be poorer
        parts = [transit_model(system, depth, t0_h, times_h, part) for part in (slice(0, 1), slice(1, N_BINS))]
        return np.concatenate(parts, axis=1)
    radius = np.sqrt(depth[bins])
    c = limb_darkening(system)[0, bins]  # (W, 4)
    m = np.arange(5)
    # Disc integrals of mu^(m/2) are 4 pi / (m + 4); the intensity is (1 - sum c) + sum c_m mu^(m/2).
    shares = np.concatenate([1 - c.sum(axis=1, keepdims=True), c], axis=1) * (4 / (m + 4))  # (W, 5)
    shares /= shares.sum(axis=1, keepdims=True)
    nodes = _radius_nodes(radius)
    basis = _blocked_basis(system, nodes, t0_h, times_h.ravel())
    basis = basis.reshape(len(times_h), -1, 5 * len(nodes)).mean(axis=1)  # (T, J * 5)
    weights = _lagrange(nodes, radius)[:, :, None] * shares[:, None, :]  # (W, J, 5)
    return 1 - basis @ weights.reshape(len(radius), -1).T


def simulate_lightcurves(
    systems: Systems, depth: Array, rng: np.random.Generator, **options: Any
) -> list[PlanetLightCurves]:
    """Light curves of n planets; see `simulate_with_truth` for the options."""
    return simulate_with_truth(systems, depth, rng, **options)[0]


def simulate_with_truth(
    systems: Systems,
    depth: Array,
    rng: np.random.Generator,
    samples: int = 375,
    airs_pairs: int = AIRS.pairs_per_visit,
    fgs1_pairs: int = FGS1.pairs_per_visit,
    degraded: bool = False,
    drift_scale: float = 1.0,
    two_visit_fraction: float = 0.10,
    visits: list[tuple[Visit, ...]] | None = None,
    worlds: Sequence[WorldDraw] | None = None,
) -> tuple[list[PlanetLightCurves], list[Truth]]:
    """Light curves of n planets, and the truth behind them.

    Args:
        systems: the n systems.
        depth: (n, 283) their spectra.
        rng: source of visits and noise.
        samples: time samples of a visit.
        airs_pairs: CDS pairs of a visit, evenly spread over its 7.5 h; at least `samples`.
        fgs1_pairs: the same for FGS1.
        degraded: detectors as bad as those of the hidden test set.
        drift_scale: factor on the gain drift's amplitude.
        two_visit_fraction: share of planets seen twice.
        visits: each planet's visits, which make `drift_scale` and `two_visit_fraction` meaningless; drawn by default.
        worlds: what each planet draws of what nobody knows; the own world by default.
    """
    curves, truths = [], []
    pairs = {AIRS.name: airs_pairs, FGS1.name: fgs1_pairs}
    for i, own in enumerate(visits or draw_visits(systems, rng, two_visit_fraction, drift_scale)):
        system = systems.take(np.array([i]))
        world = OWN if worlds is None else worlds[i]
        flux = star_flux(float(system.stellar_temperature_k[0]), float(system.brightness[0]))
        flux = flux * (1 if world.neighbour is None else 1 + world.neighbour.flux)
        drawn = [
            _simulate_visit(system, depth[i], flux, world, world.visit(visit, number), rng, samples, pairs, degraded)
            for number, visit in enumerate(own)
        ]
        planet = int(systems.planet_id[i])
        curves.append(PlanetLightCurves(planet, tuple(light for light, _ in drawn)))
        truths.append(Truth(planet, depth[i], limb_darkening(system)[0], flux, tuple(true for _, true in drawn), world))
    return curves, truths


def pair_variance(
    instrument: Instrument, flux_e: Array, share: Array, sky_e: Array, usable: NDArray[np.bool_] | None = None
) -> Array:
    """Variance of one CDS pair after optimal extraction (Horne 1986, eq. 9), electrons^2, (W,).

    Args:
        instrument: FGS1 or AIRS-CH0.
        flux_e: (W,) electrons per CDS pair in each bin.
        share: (W, pixels) share of them in each pixel.
        sky_e: (W, 1) or a number, electrons of the sky in a pixel.
        usable: (W, pixels) pixels that may be weighted, all by default.
    """
    information = share**2 / (flux_e[:, None] * share + _floor(instrument, sky_e))
    return 1 / (information if usable is None else np.where(usable, information, 0)).sum(axis=1)


def _floor(instrument: Instrument, sky_e: Array) -> Array:
    """Variance of a pixel without a star, electrons^2."""
    return sky_e + DARK_E_PER_S * instrument.cds_s + 2 * READ_NOISE_E**2


def _simulate_visit(
    system: Systems,
    depth: Array,
    star: Array,
    world: WorldDraw,
    visit: Visit,
    rng: np.random.Generator,
    samples: int,
    pairs: dict[str, int],
    degraded: bool,
) -> tuple[dict[str, LightCurve], VisitTruth]:
    """One visit, with what the world adds to it already in `visit`; `star` (283,) is all light in a bin."""
    light, transit, gain, red, neighbour, pointing = {}, {}, {}, {}, {}, {}
    noise: dict[str, Array] = {}
    extra = rng.spawn(1)[0]  # what only other worlds have takes no number from the others' generator
    for instrument in INSTRUMENTS:
        name = instrument.name
        bins = slice(1, N_BINS) if instrument is AIRS else slice(0, 1)
        time_h, _, fine = moments = sample_times(instrument, pairs[name], samples)
        transit[name] = transit_model(system, depth, visit.t0_h[name], fine, bins)
        gain[name] = visit.drift[name].gain(time_h, instrument.n_bins)
        red[name] = _red_noise(time_h, RED_NOISE[name], rng)
        target = visit.shown(transit[name], instrument) * gain[name] * (1 + red[name][:, None])
        target = target * visit.throughput(time_h)[:, None]
        shares = light_shares(instrument, world, system)
        light[name], neighbour[name], noise[name], pointing[name] = _observe(
            instrument, star[bins], target, shares, visit, moments, degraded, rng, extra
        )
    return light, VisitTruth(visit, transit, gain, neighbour, noise, red, pointing)


def _observe(
    instrument: Instrument,
    star: Array,
    target: Array,
    shares: tuple[Array, Array, Array],
    visit: Visit,
    moments: tuple[Array, NDArray[np.int32], Array],
    degraded: bool,
    rng: np.random.Generator,
    extra: np.random.Generator,
) -> tuple[LightCurve, Array, Array, Array]:
    """The light curve of a target of relative flux (T, W), and for the oracle.

    That is the neighbour's share (W,), the white noise (T, W) in e-, the response to the place within a pixel (T,).

    `shares` as `light_shares` gives them, `moments` as `sample_times` does.
    """
    (own, other, sky), (time_h, counts, fine) = shares, moments
    diluted = dilution(instrument, own, other, star, _floor(instrument, sky))
    pixels = instrument.rows * (1 if instrument is AIRS else instrument.cols)
    usable = rng.random((instrument.n_bins, pixels)) > MASKED[degraded]
    one = pair_variance(instrument, star, (own + other) / (1 + other[0].sum()), sky, usable)
    white = rng.standard_normal(target.shape, dtype=np.float32)
    struck = rng.choice(target.size, rng.binomial(target.size, OUTLIER_RATE), replace=False)
    strength = rng.uniform(0.01, 0.5, len(struck))
    track = _track(instrument, visit, time_h, counts, rng)
    pointing = pointing_residue(instrument, visit, visit.offset(time_h))
    relative = (1 - diluted) * target * pointing[:, None] + diluted
    variance = one * relative / counts[:, None]
    lit = visit.lit(instrument, fine).mean(axis=1)[:, None]
    photons = np.minimum(star / one, 1)  # share of the variance that goes with the light
    noise = EXCESS_NOISE[instrument.name] * np.sqrt(variance * (1 - photons * (1 - lit)))
    flux = star * relative * lit + noise * white
    flux.ravel()[struck] *= 1 + strength
    pair_sd = noise * np.sqrt(counts)[:, None]
    flux = with_repeated_frames(visit, instrument, fine, flux, star * relative, pair_sd, extra)
    flux, variance = flux.astype(np.float32), variance.astype(np.float32)
    centroid = (track - track.mean(axis=0)).astype(np.float32)
    quality = {"masked_fraction": float(1 - usable.mean())}
    light = LightCurve(instrument, time_h.copy(), flux, variance, counts.copy(), centroid, quality)
    return light, diluted, noise, pointing


@cache
def sample_times(instrument: Instrument, pairs: int, samples: int) -> tuple[Array, NDArray[np.int32], Array]:
    """Mid-times of the samples (T,), pairs in each (T,), and three times inside each for the transit (T, 3).

    The arrays are the same for all callers: copy them before they are changed.
    """
    if pairs < samples:
        raise ValueError(f"{instrument.name}: {pairs} pairs cannot fill {samples} samples; lower lightcurves.samples")
    mid = pair_times_h(instrument, pairs)
    edges = np.arange(samples + 1) * pairs // samples
    counts = np.diff(edges)
    start, stop = mid[edges[:-1]], mid[edges[1:] - 1]
    time_h = np.add.reduceat(mid, edges[:-1]) / counts
    # Pairs at equal steps: three points at the centres of thirds of the time that they cover.
    step = (stop - start) * counts / np.maximum(counts - 1, 1) / 3
    return time_h, counts.astype(np.int32), time_h[:, None] + step[:, None] * np.array([-1, 0, 1])


def _radius_nodes(radius: Array) -> Array:
    """Chebyshev points over the range of radii: more where the range is wider."""
    low, high = float(radius.min()), float(radius.max())
    spread = (high - low) / high
    if spread < 1e-6:
        return np.array([(low + high) / 2])
    return _chebyshev(low, high, 3 if spread < 0.004 else 5 if spread < 0.025 else 9 if spread < 0.05 else 15)


def _chebyshev(low: float, high: float, count: int) -> Array:
    """Chebyshev points of the first kind inside (low, high), ascending."""
    return (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)


def _lagrange(nodes: Array, x: Array) -> Array:
    """Interpolation weights (len(x), len(nodes)) of Chebyshev points, barycentric (Berrut & Trefethen 2004)."""
    angle = np.pi * (np.arange(len(nodes)) + 0.5) / len(nodes)
    distance = x[:, None] - nodes
    distance[distance == 0] = 1e-300
    weights = (-1.0) ** np.arange(len(nodes)) * np.sin(angle) / distance
    return weights / weights.sum(axis=1, keepdims=True)


def _blocked_basis(system: Systems, radii: Array, t0_h: float, times_h: Array) -> Array:
    """Share of each basis disc's light that the planet hides, (T, J, 5); zero outside the transit.

    At a given radius it is a smooth function of the centres' separation between the contacts: batman computes it at a
    few points there, and each time is interpolated. At the contacts it goes as half-integer powers or quarters of the
    distance to them; the interpolation is over the angle of a cosine, in which those are powers of twice the order.
    """
    a, impact = float(system.semi_major_axis_rs[0]), float(system.impact[0])
    sin_i = np.sin(np.radians(float(system.inclination_deg[0])))
    radians_per_h = 2 * np.pi / (24 * float(system.period_days[0]))
    phase = radians_per_h * (np.asarray(times_h, float) - t0_h)
    separation = a * np.sqrt(1 - (np.cos(phase) * sin_i) ** 2)
    front = np.abs(np.remainder(phase + np.pi, 2 * np.pi) - np.pi) < np.pi / 2
    out = np.zeros((len(phase), len(radii), 5))
    for j, radius in enumerate(radii):
        edges = [impact, 1 - radius, 1 + radius] if impact < 1 - radius else [impact, 1 + radius]
        for low, high, count in zip(edges[:-1], edges[1:], SEPARATION_POINTS[-len(edges) + 1 :], strict=True):
            now = np.flatnonzero(front & (separation >= low) & (separation < high))
            if len(now):
                angles, half = _chebyshev(0, np.pi, count), (high - low) / 2
                nodes = low + half * (1 - np.cos(angles))
                hours = np.arccos(np.minimum(np.sqrt(1 - (nodes / a) ** 2) / sin_i, 1)) / radians_per_h
                weights = _lagrange(angles, np.arccos(np.maximum(1 - (separation[now] - low) / half, -1)))
                out[now, j] = weights @ _batman_discs(system, float(radius), hours)
    return out


def _batman_discs(system: Systems, radius: float, hours: Array) -> Array:
    """Share that the planet hides of a uniform disc and of discs that shine as mu^(m/2), m = 1..4, (T, 5)."""
    params = batman.TransitParams()
    params.t0, params.per, params.ecc, params.w = 0.0, float(system.period_days[0]), 0.0, 90.0
    params.a, params.inc, params.rp = float(system.semi_major_axis_rs[0]), float(system.inclination_deg[0]), radius
    out = np.empty((len(hours), 5))
    for m, (law, coefficients) in enumerate(BASIS_DISCS):
        params.limb_dark, params.u = law, coefficients
        out[:, m] = 1 - batman.TransitModel(params, hours / 24, fac=BATMAN_STEP).light_curve(params)
    return out


def _red_noise(time_h: Array, rms: float, rng: np.random.Generator) -> Array:
    """First-order autoregressive noise of the given rms and correlation time on an even time grid, (T,)."""
    keep = np.exp(-(time_h[-1] - time_h[0]) / max(len(time_h) - 1, 1) / RED_NOISE_TIME_H)
    return rms * autoregressive(time_h.shape, keep, rng)


def _track(
    instrument: Instrument, visit: Visit, time_h: Array, counts: NDArray[np.int32], rng: np.random.Generator
) -> Array:
    """Centroid of each sample against where the star belongs, (T, 2) pixels; AIRS has no second axis."""
    slow = visit.offset(time_h) * PX_PER_FGS1_PX[instrument.name]
    track = slow + rng.standard_normal((len(time_h), 2)) * JITTER_PX[instrument.name] / np.sqrt(counts)[:, None]
    if instrument is AIRS:
        track[:, 1] = 0
    return track
