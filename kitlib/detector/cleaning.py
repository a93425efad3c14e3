"""Series in time: pointing jitter, outlying samples, scatter beyond the expected. Pure functions on arrays."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ..base.products import Array

MAD_TO_SIGMA = 1.4826  # standard deviation of a Gaussian over its median absolute deviation


def median(values: Array, axis: int = -1) -> Array:
    """Median along an axis, NaN ignored; NaN where there is nothing else. numpy's own takes ten times as long."""
    ordered = np.sort(np.moveaxis(values, axis, -1), axis=-1)  # NaN go last
    count = ordered.shape[-1] - np.isnan(ordered).sum(axis=-1, keepdims=True)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, ordered.shape[-1] - 1)
    return 0.5 * (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1))[..., 0]


def robust_sigma(values: Array, axis: int = -1) -> Array:
    """Standard deviation by the median absolute deviation about the median, NaN ignored."""
    centre = np.expand_dims(median(values, axis), axis)
    return MAD_TO_SIGMA * median(np.abs(values - centre), axis)


def bridged(series: Array, lost: NDArray[np.bool_]) -> Array:
    """Series (..., n) with straight lines across the `lost` places (n,); beyond the first and last good one, flat."""
    place, known = np.flatnonzero(lost), np.flatnonzero(~lost)
    after = np.clip(np.searchsorted(known, place), 0, len(known) - 1)
    low, high = known[np.maximum(np.searchsorted(known, place) - 1, 0)], known[after]
    share = np.where(high > low, (place - low) / np.maximum(high - low, 1), 0.0)
    filled: Array = series.copy()
    filled[..., place] = (1 - share) * series[..., low] + share * series[..., high]
    return filled


def _high_pass(series: Array, width: int) -> Array:
    """Series (..., n) minus its running mean over `width` samples."""
    return series - uniform_filter1d(series, width, axis=-1, mode="nearest")


def jitter_response(flux: Array, centroid: Array, width: int) -> tuple[Array, NDArray[np.bool_], Array]:
    """Relative response of `flux` (n,) to the centroid (2, n): (response (n,), outlying pairs, coefficients).

    Powers of the centroid up to the third, where it moves along both axes; row and row^2 where it moves along one. The
    coefficients come from quantities with everything slower than `width` pairs removed, in which no transit is left;
    they then act on the full centroid. They are smaller than what fits best by what chance alone explains (James &
    Stein 1961), so that a response that is not there adds next to no noise. Pairs beyond 8 robust sigmas of the
    filtered residual are outliers, and not used. Too few pairs show no response.
    """
    offset = (centroid - median(centroid)[:, None]).astype(np.float32)  # 1e-7 of the response, half the time
    row, col = offset
    square = [row**2, row * col, col**2]
    terms = np.stack([row, col, *square, *(row * one for one in square), col**3] if col.any() else [row, row**2])
    if len(flux) < 10 * len(terms):
        return np.zeros(len(flux)), np.zeros(len(flux), bool), np.zeros(len(terms))
    target = _high_pass((flux / median(flux) - 1).astype(np.float32), width)
    design = _high_pass(terms, width)
    scale = np.sqrt(np.mean(design**2, axis=1))
    scale = np.where(scale > 0, scale, 1.0)
    design /= scale[:, None]
    gram, moment = design @ design.T, design @ target  # normal equations; the outliers, which are few, are taken out
    residual, use = target, np.ones(len(flux), bool)
    for _ in range(3):
        out = design[:, ~use]
        coefficients = np.linalg.lstsq(gram - out @ out.T, moment - out @ target[~use], rcond=None)[0]
        residual = target - coefficients @ design
        use = np.abs(residual) <= 5 * robust_sigma(residual[use])
    noise = robust_sigma(residual[use])
    outlying = np.abs(residual) > 8 * noise
    explained = float(((coefficients @ design[:, use]) ** 2).sum()) / max(float(noise) ** 2, 1e-30)
    coefficients = coefficients / scale * max(0.0, 1 - len(terms) / max(explained, 1e-30))
    return coefficients @ terms, outlying, coefficients


def _spikes(series: Array, floor: Array) -> NDArray[np.bool_]:
    """Isolated outliers of series (..., n): far from the median of the four neighbours, and from both nearest ones.

    Far is more than 8 robust sigmas and `floor` (..., 1 or n); half of that, to the same side, for the nearest, so that
    the corner of a steep ingress is not one.
    """
    n = series.shape[-1]
    if n < 5:
        return np.zeros(series.shape, bool)
    series = series.astype(np.float32)  # scatter is what counts here
    padded = np.pad(series, [(0, 0)] * (series.ndim - 1) + [(2, 2)], mode="reflect")
    far, near, next_, last = (padded[..., shift : shift + n] for shift in (0, 1, 3, 4))
    before, after = series - near, series - next_
    # the two in the middle of the four neighbours
    low = np.maximum(np.minimum(far, near), np.minimum(next_, last))
    high = np.minimum(np.maximum(far, near), np.maximum(next_, last))
    residual = series - 0.5 * (low + high)
    limit = np.maximum(8 * robust_sigma(residual)[..., None], floor)
    isolated = (before * after > 0) & (np.minimum(np.abs(before), np.abs(after)) > 0.5 * limit)
    return isolated & (np.abs(residual) > limit)


def outlying_samples(flux: Array, expected: Array) -> NDArray[np.bool_]:
    """Isolated outliers (W, n) of binned light curves (W, n), e- per pair, with `expected` variance (W, n).

    First whole samples, by the median over wavelengths (and by more than 0.5 %, since an ingress may be steep); then
    single wavelengths, with that median curve, transit included, taken out, and by more than 5 expected sigmas.
    """
    level = median(flux)[:, None]
    lit = level[:, 0] > 0.2 * np.max(level)
    white = median(flux[lit] / level[lit], axis=0)
    bad = np.broadcast_to(_spikes(white, np.array([0.005])), flux.shape).copy()
    if len(flux) > 1:
        bad |= _spikes(flux - np.maximum(level, 0) * white, 5 * np.sqrt(expected))
    return bad


def excess_variance(flux: Array, expected: Array) -> Array:
    """Factor (W,) >= 1 by which the scatter from sample to sample exceeds `expected` (W, n) variance.

    From second differences, in which transit and drift cancel; robust; NaN samples are left out. Only an excess beyond
    three times the error of the estimate counts, first for each wavelength's neighbourhood (41 bins), then for itself.
    """
    n = flux.shape[1]
    if n < 20:
        return np.ones(len(flux))
    curvature = (flux[:, :-2] - 2 * flux[:, 1:-1] + flux[:, 2:]) / np.sqrt(
        expected[:, :-2] + 4 * expected[:, 1:-1] + expected[:, 2:]
    )
    own = (MAD_TO_SIGMA * median(np.abs(curvature))) ** 2
    error = 2 * 1.17 * np.sqrt(1.9 / n)  # relative error of a squared MAD; second differences are correlated
    around = median(sliding_window_view(np.pad(own, 20, constant_values=np.nan), 41))
    shared = np.where(around > 1 + 3 * error / np.sqrt(max(min(len(own), 41) / 1.6, 1)), around, 1.0)
    return np.nan_to_num(np.where(own > (1 + 3 * error) * shared, own, shared), nan=1.0, posinf=1.0)
