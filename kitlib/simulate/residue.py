"""What calibration leaves of a world in light curves: for `lightcurves`, which makes them without frames.

Sky and wings leave noise alone: weights without response to uniform light are what the solver extracts with. A
neighbour dilutes by its share in those weights. Frames inside a gap are averaged like any others. Pointing is taken
out of FGS1 by linear and quadratic terms of the jitter, and out of AIRS by nothing.
"""

import numpy as np

from ..base.instruments import AIRS, Instrument
from ..base.products import Array
from .optics import star_columns
from .systems import Systems
from .visits import JITTER_PX, PX_PER_FGS1_PX, Visit
from .worlds import WorldDraw


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


def dilution(own: Array, other: Array, variance: Array) -> Array:
    """Share of a light curve's light that does not come from the target, (W,).

    The weights are the solver's: least variance, unit response to the image as measured, the neighbour in it, and none
    to uniform light.

    Args:
        own: (W, pixels) the target's light.
        other: (W, pixels) the neighbour's, over the target's whole light.
        variance: (W, pixels) of the pixels.
    """
    image = own + other
    uniform = (image / variance).sum(axis=1, keepdims=True) / (1 / variance).sum(axis=1, keepdims=True)
    weight = (image - uniform) / variance
    mine, its = (weight * own).sum(axis=1), (weight * other).sum(axis=1)
    return its / (mine + its)


def pointing_residue(instrument: Instrument, visit: Visit, slow_px: Array, row_px: Array) -> Array:
    """Relative flux (T,) that the response within a pixel leaves behind.

    Args:
        instrument: FGS1 or AIRS-CH0.
        visit: amplitude and phase of the response.
        slow_px: (T, 2) slow offset of the telescope in FGS1 pixels.
        row_px: (T,) mean row offset of each sample in this instrument's pixels, jitter included.
    """
    if instrument is AIRS:
        return visit.pixel_response(row_px[:, None])
    # Jitter smooths the cosine; regression on the jitter takes its Taylor series to second order along.
    damping = np.exp(-0.5 * (2 * np.pi * np.array(JITTER_PX[instrument.name])) ** 2)
    turn, phase = 2 * np.pi * slow_px * PX_PER_FGS1_PX[instrument.name], 2 * np.pi * np.array(visit.phase)
    followed = np.cos(phase) * (1 - turn**2 / 2) - np.sin(phase) * turn
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
