"""From a star, its planet and the telescope's pointing to expected electrons per pixel, and from there to frames."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import correlate1d

from ..base.instruments import AIRS, FGS1, Instrument
from ..base.products import Array
from .detector import Detector, detect
from .lightcurves import transit_model
from .optics import FGS1_CORE_SIGMA_PX, fgs1_core_fraction, pixel_gauss, star_columns
from .systems import Systems
from .visits import JITTER_PX, PX_PER_FGS1_PX, Visit, autoregressive, pair_times_h
from .worlds import OWN, Neighbour, WorldDraw

CHUNK_PIXELS = 1_000_000  # pixels x pairs that are simulated at once
FGS1_JITTER_WITHIN_PAIR, FGS1_JITTER_NEXT_PAIR = 0.9, 0.3  # correlation after 0.1 s and 0.4 s [M]
COSMIC_RAYS_PER_PIXEL_S = 6e-7  # none among the 25 real pairs of AIRS frames, where 0.8 are expected
COSMIC_RAY_LN_E = (7.3, 1.3)  # mean and sd of ln electrons
FOREGROUND_FRACTION = 0.005
FOREGROUND_FLUX = (0.003, 0.05)  # relative to the star, log-uniform


Light = Callable[[int, int], tuple[Array, Array]]  # (start, stop) -> electrons of first read and between reads


def draw_foreground(rng: np.random.Generator) -> Neighbour | None:
    """A foreground star for one planet in 200 of any world, else None."""
    if rng.random() >= FOREGROUND_FRACTION:
        return None
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(4, 9)
    flux = float(np.exp(rng.uniform(*np.log(FOREGROUND_FLUX))))
    return Neighbour(flux, (distance * np.sin(angle), distance * np.cos(angle)))


def simulate_frames(
    instrument: Instrument,
    system: Systems,
    depth: Array,
    visit: Visit,
    detector: Detector,
    pairs: int,
    rng: np.random.Generator,
    foreground: Neighbour | None = None,
    world: WorldDraw = OWN,
) -> np.ndarray:
    """All frames of one instrument in one visit, pixel-major: (pixels, 2 x pairs) uint16.

    Args:
        instrument: FGS1 or AIRS-CH0.
        system: one system (`Systems.take([i])`).
        depth: (283,) its spectrum.
        visit: mid-transit, drift, pointing, and what the world adds to them (`WorldDraw.visit`).
        detector: the visit's detector.
        pairs: CDS pairs kept, evenly spread over the visit.
        rng: source of jitter, noise and cosmic rays.
        foreground: a neighbouring star, if any; the world's own comes before it.
        world: what the planet has drawn.
    """
    time_h = pair_times_h(instrument, pairs)
    light = (_airs_light if instrument is AIRS else _fgs1_light)(
        system, depth, visit, time_h, detector, rng, world.neighbour or foreground, world
    )
    lit = visit.lit(instrument, time_h).astype(np.float32)[:, None]
    frames = np.empty((instrument.n_pixels, 2 * pairs), np.uint16)
    step = max(1, CHUNK_PIXELS // instrument.n_pixels)
    for start in range(0, pairs, step):
        stop = min(start + step, pairs)
        first, gained = light(start, stop)
        if visit.gaps:
            first, gained = first * lit[start:stop], gained * lit[start:stop]
        struck = _cosmic_rays(instrument, stop - start, rng)
        frames[:, 2 * start : 2 * stop] = detect(detector, first, gained, struck, rng, world.full_well_e).T
    for gap in visit.gaps:
        inside = np.flatnonzero(gap.holds(time_h))
        if gap.kind == "frozen" and instrument.name in gap.instruments and len(inside):
            last = max(inside[0] - 1, 0)
            frames[:, 2 * inside[0] : 2 * inside[-1] + 2] = np.tile(frames[:, 2 * last : 2 * last + 2], len(inside))
    return frames


def _airs_light(
    system: Systems,
    depth: Array,
    visit: Visit,
    time_h: Array,
    detector: Detector,
    rng: np.random.Generator,
    foreground: Neighbour | None,
    world: WorldDraw,
) -> Light:
    """Closure over a visit: (start, stop) -> electrons of the first read and between the reads, (n, pixels) float32."""
    low, high = AIRS.crop
    columns = star_columns(float(system.stellar_temperature_k[0]), float(system.brightness[0]))[1]
    # Columns outside the crop take the transit of the nearest bin; the solver has no use for them.
    bins = np.clip(high - 1 - np.arange(AIRS.cols), 0, high - low - 1)
    drift = visit.drift[AIRS.name]
    h = 0.25
    middle, up, down = (world.airs_psf(offset) for offset in (0.0, h, -h))
    shapes = np.stack([middle, (up - down) / (2 * h), (up + down - 2 * middle) / (2 * h * h)])
    shapes = shapes.transpose(0, 2, 1).astype(np.float32)  # (3, rows, cols), powers of the row offset
    slope = -np.gradient(columns) / columns  # spectral offset of one pixel
    slow = visit.offset(time_h)[:, 0] * PX_PER_FGS1_PX[AIRS.name]
    row_px, column_px = JITTER_PX[AIRS.name]
    row = (slow + row_px * rng.standard_normal(len(time_h))).astype(np.float32)
    column = column_px * rng.standard_normal(len(time_h))
    reaches = visit.throughput(time_h) * visit.pixel_response(row[:, None])
    extra = np.broadcast_to(world.airs_sky_e(columns), (AIRS.rows, AIRS.cols))
    if foreground is not None:
        extra = extra + foreground.flux * columns * world.airs_psf(foreground.offset_px[0]).T
    response, extra = detector.response.astype(np.float32), extra.astype(np.float32)

    def light(start: int, stop: int) -> tuple[Array, Array]:
        now = slice(start, stop)
        transit = transit_model(system, depth, visit.t0_h[AIRS.name], time_h[now], slice(1, None))[:, bins]
        flux = columns * visit.shown(transit, AIRS) * drift.column_gain(AIRS, time_h[now])
        flux = flux * (1 + column[now, None] * slope) * reaches[now, None]
        j = row[now, None, None]
        shape = shapes[0] + j * (shapes[1] + j * shapes[2])
        gained = ((flux[:, None, :].astype(np.float32) * shape + extra) * response).reshape(stop - start, -1)
        return gained * np.float32(AIRS.first_read_s / AIRS.cds_s), gained

    return light


def _fgs1_light(
    system: Systems,
    depth: Array,
    visit: Visit,
    time_h: Array,
    detector: Detector,
    rng: np.random.Generator,
    foreground: Neighbour | None,
    world: WorldDraw,
) -> Light:
    """As `_airs_light`, with the star's position in each of the two reads."""
    star = star_columns(float(system.stellar_temperature_k[0]), float(system.brightness[0]))[0]
    # The transit is smooth on the scale of a minute: computed each 24 s and interpolated where pairs are denser.
    coarse = time_h if len(time_h) <= 2_000 else np.linspace(time_h[0], time_h[-1], 4_501)
    transit = transit_model(system, depth, visit.t0_h[FGS1.name], coarse, slice(0, 1))[:, 0]
    transit = visit.shown(np.interp(time_h, coarse, transit), FGS1)
    flux = star * transit * visit.drift[FGS1.name].gain(time_h, 1)[:, 0] * visit.throughput(time_h)
    slow, jitter = visit.offset(time_h), np.array(JITTER_PX[FGS1.name])
    second = slow + jitter * autoregressive(slow.shape, FGS1_JITTER_NEXT_PAIR, rng)
    keep = FGS1_JITTER_WITHIN_PAIR
    loose = jitter * np.sqrt(1 - keep**2) * rng.standard_normal(second.shape)
    first = slow + keep * (second - slow) + loose
    still = np.zeros(2)
    core = fgs1_core_fraction(world.fgs1_wings)
    wings = (world.fgs1_psf(still) - core * _fgs1_core(still[None])[0]).astype(np.float32)
    moved = [correlate1d(wings, [0.5, 0, -0.5], axis=axis, mode="nearest") for axis in (0, 1)]  # -d/dx: the star moves
    extra = np.full((FGS1.rows, FGS1.cols), world.fgs1_sky_e)
    if foreground is not None:
        extra = extra + foreground.flux * star * world.fgs1_psf(foreground.offset_px)
    response, extra = detector.response.astype(np.float32), extra.astype(np.float32)

    def image(offset: Array, flux: Array) -> Array:
        shift = offset.astype(np.float32)[:, :, None, None]
        shape = core * _fgs1_core(offset) + wings + shift[:, 0] * moved[0] + shift[:, 1] * moved[1]
        return ((flux[:, None, None].astype(np.float32) * shape + extra) * response).reshape(len(flux), -1)

    def light(start: int, stop: int) -> tuple[Array, Array]:
        now = slice(start, stop)
        share = np.float32(FGS1.first_read_s / FGS1.cds_s)
        one, two = (flux[now] * visit.pixel_response(offset[now]) for offset in (first, second))
        return share * image(first[now], one), image(second[now], two)

    return light


def _fgs1_core(offset: Array) -> Array:
    """Core of the FGS1 image for n offsets (n, 2), (n, 32, 32) float32, summing to 1."""
    centre = np.asarray(FGS1.centre, float)
    rows, cols = (
        pixel_gauss(np.arange(33) - 0.5 - centre[axis] - offset[:, axis, None], FGS1_CORE_SIGMA_PX[axis])
        for axis in (0, 1)
    )
    return rows.astype(np.float32)[:, :, None] * cols.astype(np.float32)[:, None, :]


def _cosmic_rays(instrument: Instrument, pairs: int, rng: np.random.Generator) -> Array:
    """Electrons of cosmic rays between the reads, (pairs, pixels) float32; a hit lights one to three pixels."""
    out = np.zeros((pairs, instrument.n_pixels), np.float32)
    hits = rng.poisson(COSMIC_RAYS_PER_PIXEL_S * instrument.cds_s * out.size)
    for _ in range(hits):
        pair, pixel, length = rng.integers(pairs), rng.integers(instrument.n_pixels), rng.integers(1, 4)
        energy = min(np.exp(rng.normal(*COSMIC_RAY_LN_E)), 1e5)
        out[pair, pixel : pixel + length] += energy / length
    return out
