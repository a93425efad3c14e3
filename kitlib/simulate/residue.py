"""What calibration leaves of a world in light curves: for `lightcurves`, which makes them without frames.

Sky and wings leave noise alone: weights without response to uniform light are what the solver extracts with. A
neighbour dilutes by its share in those weights. Frames inside a gap are averaged like any others. Pointing is taken
out by powers of the centroid, to the third in FGS1, to the second in AIRS.
"""

import numpy as np

from ..base.instruments import AIRS, FGS1, Instrument
from ..base.products import Array
from .optics import star_columns
from .systems import Systems
from .visits import JITTER_PX, PX_PER_FGS1_PX, Visit
from .worlds import WorldDraw

# A solver's: the star's pixels are nearer, the sky's are farther
APERTURE_PX = {AIRS.name: 6.0, FGS1.name: 8.3}
SKY_PX = {AIRS.name: 10.5, FGS1.name: 12.0}
POINTING_PX = {AIRS.name: 0.03, FGS1.name: 0.05}  # jitter that its weights are made for


def light_shares(instrument: Instrument, world: WorldDraw, system: Systems) -> tuple[Array, Array, Array]:
    """Share of a bin's starlight in each of its pixels, (W, pixels), the neighbour's there, and the sky there, e-.

    The neighbour's is over the target's whole light; zeros without one. The sky is (W, 1) or a number.
    """
    near = world.neighbour
    if instrument is AIRS:
        crop = slice(*AIRS.crop)
        star = star_columns(float(system.stellar_temperature_k[0]), float(system.brightness[0]))[1]
        own, sky = world.airs_psf()[crop][::-1], world.airs_sky_e(star)[crop][::-1, None]
        other = np.zeros_like(own) if near is None else near.flux * world.airs_psf(near.offset_px[0])[crop][::-1]
        return own, other, sky
    own = world.fgs1_psf().reshape(1, -1)
    other = np.zeros_like(own) if near is None else near.flux * world.fgs1_psf(near.offset_px).reshape(1, -1)
    return own, other, np.array(world.fgs1_sky_e)


def dilution(instrument: Instrument, own: Array, other: Array, star: Array, floor: Array) -> Array:
    """Share of a light curve's light that does not come from the target, (W,).

    The weights are a solver's: least variance near the star, where pixels scatter by photons, read noise and pointing;
    unit response to the image as measured, the neighbour in it; none to uniform light, which is read far from the star.

    Args:
        instrument: FGS1 or AIRS-CH0.
        own: (W, pixels) the target's light.
        other: (W, pixels) the neighbour's, over the target's whole light.
        star: (W,) electrons per CDS pair of both.
        floor: variance of a pixel without a star, electrons^2, (W, 1) or a number.
    """
    if not other.any():
        return np.zeros(len(own))
    distance, image = _distances(instrument), own + other
    light = (star / image.sum(axis=1))[:, None] * image
    variance = light + floor
    near = np.where(distance < APERTURE_PX[instrument.name], 1 / variance, 0)
    if instrument is AIRS:
        moves = np.gradient(light, axis=1)[:, None]  # (W, 1, pixels)
    else:
        moves = np.stack(np.gradient(light.reshape(FGS1.rows, FGS1.cols))).reshape(1, 2, -1)
    moves = POINTING_PX[instrument.name] * moves
    # The inverse of diag(variance) + moves^T moves on the image, by the Woodbury identity
    coupled = moves * near[:, None]
    small = np.eye(moves.shape[1]) + coupled @ moves.mT
    weight = near * (image - (moves.mT @ np.linalg.solve(small, coupled @ image[..., None]))[..., 0])
    sky = np.where(distance > SKY_PX[instrument.name], 1 / variance, 0)
    sky *= weight.sum(axis=1, keepdims=True) / sky.sum(axis=1, keepdims=True)
    mine, its = (((weight - sky) * part).sum(axis=1) for part in (own, other))
    return its / (mine + its)


def _distances(instrument: Instrument) -> Array:
    """Distance of a bin's pixels from the star, (pixels,)."""
    row = np.arange(instrument.rows) - instrument.centre[0]
    if instrument.centre[1] is None:
        return np.abs(row)
    return np.hypot(row[:, None], np.arange(instrument.cols) - instrument.centre[1]).ravel()


def pointing_residue(instrument: Instrument, visit: Visit, slow_px: Array) -> Array:
    """Relative flux (T,) that the response within a pixel leaves behind.

    Args:
        instrument: FGS1 or AIRS-CH0, where a row alone matters.
        visit: amplitude and phase of the response.
        slow_px: (T, 2) slow offset of the telescope in FGS1 pixels.
    """
    # Jitter smooths the cosine; regression on the centroid takes its Taylor series along.
    name, axes = instrument.name, 1 if instrument is AIRS else 2
    damping = np.exp(-0.5 * (2 * np.pi * np.array(JITTER_PX[name][:axes])) ** 2)
    turn, phase = 2 * np.pi * slow_px[:, :axes] * PX_PER_FGS1_PX[name], 2 * np.pi * np.array(visit.phase[:axes])
    cubic = 0 if instrument is AIRS else turn**3 / 6
    followed = np.cos(phase) * (1 - turn**2 / 2) - np.sin(phase) * (turn - cubic)
    return 1 + visit.intrapixel * (damping * (np.cos(phase + turn) - followed)).mean(axis=1)


def with_repeated_frames(
    visit: Visit,
    instrument: Instrument,
    fine_h: Array,
    flux: Array,
    expected: Array,
    pair_sd: Array,
    rng: np.random.Generator,
) -> Array:
    """Flux (T, W) where the frames of some samples are copies of the last one before the gap.

    Args:
        visit: its gaps.
        instrument: FGS1 or AIRS-CH0.
        fine_h: (T, n) moments inside each sample.
        flux: (T, W) without the gaps.
        expected: (T, W) its expectation.
        pair_sd: (T, W) noise of one pair.
        rng: source of the noise of the frame that is repeated.
    """
    flux = flux.copy()
    for gap in visit.gaps:
        part = gap.holds(fine_h).mean(axis=1, keepdims=True)
        struck = np.flatnonzero(part)
        if gap.kind == "frozen" and instrument.name in gap.instruments and len(struck):
            last = max(struck[0] - 1, 0)
            frame = expected[last] + pair_sd[last] * rng.standard_normal(flux.shape[1])
            flux[struck] = (1 - part[struck]) * flux[struck] + part[struck] * frame
    return flux
