"""Calibrated frames of one visit to a light curve, streamed.

Frames stay uint16 and pixel-major; each pixel's series passes once through the fused kernel of `calibrate` and is added
to its light curve. There is never a cube in floating point: a full visit pair peaks at well below 2 GB.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import AIRS, FGS1, Instrument
from ..base.products import Array, CalibrationMaps, LightCurve, MeanFrame
from ..base.schema import LightCurveConfig
from .axes import Axis
from .calibrate import accumulate_pixels, image_statistics, kernel_parameters
from .cleaning import bridged, excess_variance, jitter_response, outlying_samples
from .frames import Signal
from .glitches import lost_pairs
from .neighbour import BLOCKS_IN_TIME, Followed, Neighbour, neighbour_of
from .profile import Extraction, good_pixels, pixel_variance, plan_extraction
from .sky import sky_pixels, star_pixels, without_lit_edge
from .tables import Adc

BLOCKS = {FGS1.name: 128, AIRS.name: 32}  # blocks of sixteen adjacent pairs in the mean image
_CORE_PX = 4.0  # pixels that give the centroid
_WORK_UNITS = 4  # parts of a frame with sums of their own: fixed, so that results do not depend on the threads
_JITTER_S = 300.0  # movements faster than that show how the light follows them; an ingress is slower
_MIN_SIGNAL_TO_NOISE = 5.0  # of all light in one pair; real ones are 437 (FGS1) and 3,858 (AIRS) [M]
# Of a neighbour's light in FGS1, far away, and where the error is twice that: in full-size frames of 16 planets depths
# are wrong by up to 5 % of it, the most beside near ones.
_MISPLACED, _MISPLACED_PX = 0.02, 4.0
_FRAME_BINS = 6  # AIRS bins in a column of the mean frame that is kept
_EVENTS = 256  # cosmic rays recorded per pixel

Binned = tuple[Array, Array, NDArray[np.int32], Array]  # time (T,), flux (W, T), pairs (T,), centroid (2, T)


def needed_pixels(instrument: Instrument) -> NDArray[np.int64]:
    """Flat indices, ascending, of the pixels to decode: 54 % of AIRS, 39 % of FGS1. See `sky`."""
    return np.flatnonzero(star_pixels(instrument) | sky_pixels(instrument))


def extract(
    signal: Signal,
    maps: CalibrationMaps,
    axis: Axis,
    adc: Adc,
    config: LightCurveConfig,
    beside: Neighbour | None = None,
) -> LightCurve:
    """Light curve of one instrument in one visit. AIRS wavelengths ascend; flux is e- per CDS pair of the star alone.

    Sky is removed, and so is a neighbour that these frames show, or one `beside` the star that the other instrument's
    frames show and these cannot.
    Raises ValueError where the frames hold no light.
    """
    instrument = signal.instrument
    parameters = kernel_parameters(maps, axis, adc)
    lost = lost_pairs(signal)
    mean, noise, saturated = image_statistics(signal, parameters, BLOCKS[instrument.name], max(1, config.threads), lost)
    good = without_lit_edge(mean, good_pixels(maps, mean, noise, saturated), instrument)
    plan = plan_extraction(maps, mean, good)
    ratio = float(plan.flux_e.sum() / np.sqrt(plan.variance_e2.sum()))
    if not ratio > _MIN_SIGNAL_TO_NOISE:
        raise ValueError(f"the frames hold no light of a star (signal to noise {ratio:.1f} in a pair)")
    star, sky, sums, hits, followed = _stream(signal, parameters, plan, noise, good, config)
    near = neighbour_of(followed, plan.star_e, sums, lost, pixel_variance(mean, maps), instrument)
    near = near or beside
    if near is not None:  # rare: frames are still in memory
        other = near.image_e(plan.star_e, signal.pixels)
        plan = plan_extraction(maps, mean, good, other)
        star, sky, sums, hits, _ = _stream(signal, parameters, plan, noise, good, config)
        # its light in the target's core would draw the centroid its way when the target dims
        moments = _moment_weights(instrument, good)[signal.pixels]
        sums = sums - (other.ravel()[signal.pixels] @ moments)[:, None]
    flux: Array = plan.light_curves(star, sky) - plan.dilution[:, None]
    centroid = sums[:2] / np.maximum(sums[2], 1.0)
    if lost.any():
        flux, centroid = bridged(flux, lost), bridged(centroid, lost)
    response, outlying, _ = jitter_response(flux.sum(axis=0), centroid, jitter_width(axis.time_h))
    flux = flux * (1 - response)
    dropped = lost | outlying if instrument.n_bins == 1 else lost
    if instrument.descending:
        flux = flux[::-1]
    curve = _bin_in_time(flux, centroid, axis.time_h, dropped, config.samples)
    spectral_order = slice(None, None, -1) if instrument.descending else slice(None)
    quality = _quality(maps, mean, saturated, good, hits, dropped, plan)
    if near is not None:
        quality |= _dilution(near, plan)
    return _finish(instrument, curve, plan, spectral_order, quality, _mean_frame(instrument, mean, plan))


def jitter_width(time_h: Array) -> int:
    """Pairs of which a running mean follows what is slower than jitter: odd, three at least."""
    step_s = 3600 * (time_h[-1] - time_h[0]) / max(len(time_h) - 1, 1)
    return 2 * max(1, round(_JITTER_S / max(step_s, 1e-9) / 2)) + 1


def _mean_frame(instrument: Instrument, mean: Array, plan: Extraction) -> MeanFrame:
    """The mean image (rows, cols), electrons per pair, and what its pixels count for, as the product keeps them.

    A sky pixel counts for minus the share that its column's light curve takes of it; `SkyFit` then spreads that
    smoothly along AIRS' spectrum, which is not shown.
    """
    aperture = np.zeros(instrument.cols)
    aperture[slice(*instrument.crop)] = plan.aperture_px
    counts = np.where(plan.sky, -aperture * plan.weights, plan.weights)
    counts = np.where(np.isfinite(mean), counts, np.nan)

    def small(image: Array) -> Array:
        if instrument.n_bins == 1:
            return image
        bins = image[:, slice(*instrument.crop)][:, :: -1 if instrument.descending else 1]
        return bins.reshape(instrument.rows, -1, _FRAME_BINS).mean(axis=2)

    return MeanFrame(small(mean).astype(np.float32), small(counts).astype(np.float16))


def _stream(
    signal: Signal,
    parameters: NDArray[np.float32],
    plan: Extraction,
    noise: Array,
    good: NDArray[np.bool_],
    config: LightCurveConfig,
) -> tuple[Array, Array, Array, int, Followed]:
    """One pass over all pixels with weight: star and sky (W, n), moment sums (3, n) in float64; cosmic rays replaced.

    A pair in which more than 1 % of the pixels (and at least 5) spike was not hit by cosmic rays: the telescope moved.
    Its pixels are put back as they were.
    """
    instrument = signal.instrument
    single = instrument.n_bins == 1
    first_col, n = instrument.crop[0], signal.n_pairs
    weight, moments = plan.weights.ravel()[signal.pixels], _moment_weights(instrument, good)[signal.pixels]
    threshold = (config.cosmic_ray_sigma * noise.ravel()[signal.pixels]).astype(np.float32)
    parameters = parameters[signal.pixels]
    column, far = signal.pixels % instrument.cols, plan.sky.ravel()[signal.pixels]
    addresses = signal.addresses
    used = np.flatnonzero((weight != 0) | (moments[:, 2] > 0))
    used = used[np.lexsort((far[used], column[used]))]  # pixels of one light curve together
    rows = _WORK_UNITS if single else instrument.n_bins
    flux = np.zeros((2 * rows, n))  # star, sky. float64: 400 pixels of FGS1 would round to 1.4 ppm a pair
    sums = np.zeros((_WORK_UNITS, 3, n), np.float32)
    bounds = np.linspace(0, len(used), _WORK_UNITS + 1).astype(int)
    if not single:  # a column belongs to one work unit
        bounds = np.searchsorted(column[used], np.linspace(*instrument.crop, _WORK_UNITS + 1).astype(int))

    edges = np.linspace(0, n, BLOCKS_IN_TIME + 1).astype(np.int64)
    courses = np.zeros((len(used), BLOCKS_IN_TIME), np.float32)

    def work(unit: int) -> tuple[NDArray[Any], ...]:
        own = used[bounds[unit] : bounds[unit + 1]]
        series = rows * far[own] + (unit if single else column[own] - first_col)
        events = tuple(np.empty(_EVENTS * len(own), kind) for kind in (np.int32, np.int32, np.float32))
        followed = courses[bounds[unit] : bounds[unit + 1]]
        count = accumulate_pixels(
            addresses, own, series, parameters, threshold, weight, moments, flux, sums[unit], *events, edges, followed
        )
        return tuple(event[:count].copy() for event in events)  # the room for many more is freed

    with ThreadPoolExecutor(max(1, config.threads)) as pool:
        parts = list(pool.map(work, range(_WORK_UNITS)))
    series, pairs, excess = (np.concatenate(part) for part in zip(*parts, strict=True))
    hits = _restore_excursions(flux, series, pairs, excess, max(5, len(used) // 100))
    star, sky = flux.reshape(2, rows, n).sum(axis=1, keepdims=True) if single else flux.reshape(2, rows, n)
    return star, sky, sums.sum(axis=0, dtype=np.float64), hits, Followed(signal.pixels[used], edges, courses)


def _moment_weights(instrument: Instrument, good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(rows * cols, 3): row offset, column offset and 1 for the good pixels of the core, zeros elsewhere."""
    row, col = np.mgrid[: instrument.rows, : instrument.cols].astype(np.float64)
    dr = row - instrument.centre[0]
    dc = np.zeros_like(dr) if instrument.centre[1] is None else col - instrument.centre[1]
    core = good & (np.hypot(dr, dc) < _CORE_PX)
    if instrument.centre[1] is None:
        core &= (col >= instrument.crop[0]) & (col < instrument.crop[1])
    return np.stack([dr * core, dc * core, core], axis=-1).reshape(-1, 3).astype(np.float32)


def _restore_excursions(
    flux: Array, series: NDArray[np.int32], pairs: NDArray[np.int32], excess: Array, limit: int
) -> int:
    """Put back, in place in the fresh array `flux`, what was replaced in pairs with more than `limit` spikes.

    Spikes as `accumulate_pixels` records them. Returns the number of those that stay replaced.
    """
    counts = np.bincount(pairs, minlength=flux.shape[1])
    moved = counts > limit
    back = moved[pairs]
    np.add.at(flux, (series[back], pairs[back]), excess[back])
    return int(counts[~moved].sum())


def _bin_in_time(flux: Array, centroid: Array, time_h: Array, dropped: NDArray[np.bool_], samples: int) -> Binned:
    """Means over equal groups of pairs (their sizes differ by one at most), `dropped` pairs (n,) left out.

    Returns time (T,), flux (W, T), pairs (T,), centroid (2, T), T = min(samples, n). A group that was dropped whole
    counts 0 pairs, and takes the means of all of its own.
    """
    n = len(time_h)
    starts = np.linspace(0, n, min(samples, n) + 1).astype(int)[:-1]
    keep = ~dropped
    pairs = np.add.reduceat(keep.astype(np.int64), starts)
    sizes = np.diff(np.append(starts, n))
    keep |= np.repeat(pairs == 0, sizes)
    divisor = np.where(pairs == 0, sizes, pairs)

    def mean(series: Array) -> Array:
        kept = series if keep.all() else np.where(keep, series, 0)
        return np.add.reduceat(kept, starts, axis=-1, dtype=np.float64) / divisor

    return mean(time_h), mean(flux), pairs.astype(np.int32), mean(centroid)


def _finish(
    instrument: Instrument,
    curve: Binned,
    plan: Extraction,
    order: slice,
    quality: dict[str, float],
    frame: MeanFrame,
) -> LightCurve:
    """Variance, outliers and the product."""
    time_h, flux, pairs, centroid = curve
    noise = plan.variance_e2[order][:, None]
    lit = noise > 0  # else without a usable pixel
    expected = np.where(lit, noise, 1.0) / np.maximum(pairs, 1)
    bad = outlying_samples(flux, expected) | (pairs == 0) | ~lit
    flux = np.where(bad, np.nan, flux)
    factor = excess_variance(flux, expected)
    variance = np.where(bad, np.inf, expected * factor[:, None])
    quality |= {"samples_rejected": float(bad.mean()), "excess_variance": float(np.median(factor))}
    mean_centroid = np.average(centroid, axis=1, weights=pairs)
    return LightCurve(
        instrument=instrument,
        time_h=time_h,
        flux_e=flux.T.astype(np.float32),
        variance_e2=variance.T.astype(np.float32),
        pairs=pairs,
        centroid_px=(centroid - mean_centroid[:, None]).T.astype(np.float32),
        quality=quality,
        frame=frame,
    )


def _dilution(near: Neighbour, plan: Extraction) -> dict[str, float]:
    """What a neighbour is; the share of the light that the weights could not avoid, and was taken away; its error."""
    total = float(plan.flux_e.sum())
    share = float(plan.dilution.sum()) / total
    sd = np.hypot(share * near.flux_sd / near.flux, float(plan.dilution_sd.mean()) * len(plan.flux_e) / total)
    if len(plan.flux_e) == 1:  # one series has no columns over which a template's errors average
        sd = np.hypot(sd, _MISPLACED * near.flux * (1 + (_MISPLACED_PX / np.hypot(*near.offset_px)) ** 2))
    return {
        "neighbour_flux": near.flux,
        "neighbour_flux_sd": near.flux_sd,
        "neighbour_row_px": near.offset_px[0],
        "neighbour_column_px": near.offset_px[1],
        "neighbour_share": share,
        "neighbour_share_sd": float(np.hypot(sd, 0.1 * share)),
    }


def _quality(
    maps: CalibrationMaps,
    mean: Array,
    saturated: Array,
    good: NDArray[np.bool_],
    hits: int,
    dropped: NDArray[np.bool_],
    plan: Extraction,
) -> dict[str, float]:
    read = np.isfinite(mean)
    # background_e: sky as the shape of the mean image has it, above wings ~ distance^-2. It may be wrong by all of the
    # wings' light there: weights and noise model use it, and no light curve depends on it
    return {
        "dead_fraction": float(maps.dead.mean()),
        "hot_fraction": float(maps.hot.mean()),
        "saturated_fraction": float(np.mean(saturated[read] > 1e-3)),
        "masked_fraction": float(np.mean(~good[read])),
        "cosmic_rays": float(hits),
        "pairs_rejected": float(dropped.sum()),
        "background_e": float(np.median(plan.background_e)),
    }
