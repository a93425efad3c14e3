"""Detector calibration: each step as a pure function on arrays, and the same steps fused in one float32 kernel.

The order is `STEPS`. Shapes: `reads` (..., 2, rows, cols) are pairs (first, last read); `electrons` are e- per read or,
from `cds` on, e- per CDS pair. Masked pixels keep a number through every step and get no weight in the extraction.
The fused kernel works on one pixel's time series, and takes the difference of reads before any rounding can hurt:
c1 (e2 - e1) + N(e2) - N(e1), with N the non-linear part of the correction, a few per cent of the signal.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..base.compiled import compiled, compiled_sums, sums_between
from ..base.instruments import Instrument
from ..base.products import Array, CalibrationMaps
from .axes import Axis
from .cleaning import robust_sigma
from .frames import RawCalibration, Signal
from .tables import Adc

# The order of the steps. `calibrate_cds` runs exactly this list; the fused kernel is tested against it.
STEPS = ("adc_to_electrons", "linearise", "subtract_dark", "cds", "divide_flat")

SATURATED_ADU = 65_535
BLOCK_PAIRS = 16  # adjacent pairs that `image_statistics` takes at a time: 64 bytes, a cache line
_PARAMETERS = 9


def calibration_maps(raw: RawCalibration, instrument: Instrument, hot_sigma: float) -> CalibrationMaps:
    """Calibration maps with masks: `dead` also holds the unusable pixels, `hot` those with an outlying dark current.

    Hot: |dark - median| > `hot_sigma` robust sigmas (`cleaning.robust_sigma`) of the live pixels.
    """
    live = ~(raw.dead | raw.unusable)
    median = np.median(raw.dark[live])
    spread = robust_sigma(raw.dark[live])
    return CalibrationMaps(
        instrument=instrument,
        dark_e_per_s=raw.dark.astype(np.float32),
        dead=~live,
        hot=live & (np.abs(raw.dark - median) > hot_sigma * spread),
        flat=raw.flat.astype(np.float32),
        linear_corr=raw.linear_corr,
        read_noise_e=raw.read.astype(np.float32),
    )


def adc_to_electrons(adu: NDArray[Any], adc: Adc) -> Array:
    """Electrons = ADU / gain + offset, any shape."""
    return adu / adc.gain + adc.offset_e


def linearise(electrons: Array, linear_corr: Array) -> Array:
    """Undo the non-linearity: sum_k c_k e^k; electrons (..., rows, cols), `linear_corr` (6, rows, cols) ascending."""
    corrected = np.zeros_like(electrons)
    for coefficient in linear_corr[::-1]:
        corrected = corrected * electrons + coefficient
    return corrected


def subtract_dark(electrons: Array, dark_e_per_s: Array, exposures_s: tuple[float, float]) -> Array:
    """Subtract dark current x cumulative exposure of each read of a pair; electrons (..., 2, rows, cols)."""
    return electrons - dark_e_per_s * np.asarray(exposures_s)[:, None, None]


def cds(electrons: Array) -> Array:
    """Last read minus first read: (..., 2, rows, cols) to (..., rows, cols)."""
    return electrons[..., 1, :, :] - electrons[..., 0, :, :]


def divide_flat(electrons: Array, flat: Array) -> Array:
    """Divide by the relative response (rows, cols)."""
    return electrons / flat


def calibrate_cds(reads_adu: NDArray[Any], maps: CalibrationMaps, axis: Axis, adc: Adc) -> Array:
    """Reference in float64: (..., 2, rows, cols) ADU to (..., rows, cols) electrons per CDS pair, by `STEPS`."""
    exposures = (axis.first_read_s, axis.last_read_s)
    bound: dict[str, Callable[[Array], Array]] = {
        "adc_to_electrons": lambda values: adc_to_electrons(values, adc),
        "linearise": lambda values: linearise(values, maps.linear_corr),
        "subtract_dark": lambda values: subtract_dark(values, maps.dark_e_per_s.astype(np.float64), exposures),
        "cds": cds,
        "divide_flat": lambda values: divide_flat(values, maps.flat.astype(np.float64)),
    }
    values: Array = np.asarray(reads_adu, np.float64)
    for step in STEPS:
        values = bound[step](values)
    return values


def kernel_parameters(maps: CalibrationMaps, axis: Axis, adc: Adc) -> NDArray[np.float32]:
    """The numbers of each pixel that the kernel needs, (rows * cols, 9) float32.

    0: c1 / gain; 1-4: c2..c5; 5: 1 / gain; 6: offset; 7: dark of a pair; 8: 1 / flat.
    """
    table = np.zeros((maps.instrument.n_pixels, _PARAMETERS))
    coefficients = maps.linear_corr.reshape(len(maps.linear_corr), -1)
    table[:, 0] = coefficients[1] / adc.gain
    table[:, 1:5] = coefficients[2:].T
    table[:, 5] = 1 / adc.gain
    table[:, 6] = adc.offset_e
    table[:, 7] = maps.dark_e_per_s.ravel() * axis.cds_s
    table[:, 8] = 1 / maps.flat.ravel()
    return table.astype(np.float32)


@numba.extending.intrinsic
def uint16_at(typing, address):
    """Pointer to the uint16 at an address."""
    pointer = numba.types.CPointer(numba.types.uint16)

    def generate(context, builder, signature, given):
        return builder.inttoptr(given[0], context.get_value_type(signature.return_type))

    return pointer(numba.types.uint64), generate


@compiled
def pixel_cds(raw, parameters, out):
    """Calibrate one pixel: raw (2n,) uint16 ADU to out (n,) float32 electrons per CDS pair. See `kernel_parameters`."""
    slope, c2, c3, c4, c5 = parameters[0], parameters[1], parameters[2], parameters[3], parameters[4]
    inverse_gain, offset, dark, inverse_flat = parameters[5], parameters[6], parameters[7], parameters[8]
    for t in range(out.shape[0]):
        first = np.float32(raw[2 * t])
        last = np.float32(raw[2 * t + 1])
        e1 = first * inverse_gain + offset
        e2 = last * inverse_gain + offset
        n1 = e1 * e1 * (c2 + e1 * (c3 + e1 * (c4 + e1 * c5)))
        n2 = e2 * e2 * (c2 + e2 * (c3 + e2 * (c4 + e2 * c5)))
        out[t] = (slope * (last - first) + (n2 - n1) - dark) * inverse_flat


@compiled
def _replace_spikes(series, threshold, event_pair, event_excess):
    """Replace isolated spikes of a pixel's series (n,) in place by the median of the neighbours; returns how many.

    A spike differs by more than `threshold` from the median of the nearest eight pairs and, by nearly as much and to
    the same side, from both neighbours. A cosmic ray lasts one pair, since each pair starts with a reset. Pair and
    excess of the first len(event_pair) spikes are recorded.
    """
    n = series.shape[0]
    found = 0
    block = 512
    screen = np.float32(0.8) * threshold
    around = np.empty(8, np.float32)
    for start in range(1, n, block):
        stop = min(start + block, n)
        now, before = series[start:stop], series[start - 1 : stop - 1]
        jumps = np.int32(0)
        for i in range(stop - start):  # branch-free and without t - 1, which might wrap: it runs in vector registers
            jumps += np.int32(abs(now[i] - before[i]) > screen)
        if jumps == 0:
            continue
        # the spike may be the last pair of the block before
        for t in range(start - 1, stop):
            rise = series[t] - series[t - 1] if t > 0 else series[t] - series[t + 1]
            fall = series[t] - series[t + 1] if t < n - 1 else rise
            if not (abs(rise) > screen and abs(fall) > screen and rise * fall > 0):
                continue
            count = 0
            for s in range(max(0, t - 4), min(n, t + 5)):
                if s != t:
                    around[count] = series[s]
                    count += 1
            median = np.float32(np.median(around[:count]))
            excess = series[t] - median
            if abs(excess) > threshold:
                if found < event_pair.shape[0]:
                    event_pair[found] = t
                    event_excess[found] = excess
                found += 1
                series[t] = median
    return found


@compiled
def accumulate_pixel(raw, parameters, threshold, weight, moments, buffer, flux, moment_sums, event_pair, event_excess):
    """The fused kernel: calibrate a pixel, replace its cosmic rays, add it to the light curve; returns their number.

    raw (2n,) uint16; buffer (n,) float32 scratch; flux (n,) float64 += weight x signal; moment_sums (3, n) float32 +=
    moments (3,) x signal (row offset, column offset, 1 inside the core; zeros elsewhere).
    """
    pixel_cds(raw, parameters, buffer)
    found = _replace_spikes(buffer, threshold, event_pair, event_excess)
    n = buffer.shape[0]
    if moments[2] > 0:
        row, col = moments[0], moments[1]
        for t in range(n):
            value = buffer[t]
            flux[t] += weight * value
            moment_sums[0, t] += row * value
            moment_sums[1, t] += col * value
            moment_sums[2, t] += value
    else:
        for t in range(n):
            flux[t] += weight * buffer[t]
    return found


@compiled
def accumulate_pixels(
    addresses,
    chosen,
    series,
    parameters,
    thresholds,
    weights,
    moments,
    flux,
    moment_sums,
    event_series,
    event_pair,
    event_excess,
    edges,
    courses,
):
    """`accumulate_pixel` for pixel chosen[i] of a signal into flux[series[i]]; returns how many spikes are recorded.

    addresses (pixels,) of `Signal`; chosen, series (m,); parameters, thresholds, weights, moments in the order of the
    addresses. Of each pixel the first len(event_pair) // m spikes are recorded: series, pair, weight x excess.
    courses (m, len(edges) - 1) get each pixel's sums over pairs edges[b] to edges[b + 1].
    """
    n = flux.shape[1]
    buffer = np.empty(n, np.float32)
    limit = event_pair.shape[0] // max(chosen.shape[0], 1)
    used = 0
    for i in range(chosen.shape[0]):
        k = chosen[i]
        pair, excess = event_pair[used : used + limit], event_excess[used : used + limit]
        found = accumulate_pixel(
            numba.carray(uint16_at(addresses[k]), (2 * n,)),
            parameters[k],
            thresholds[k],
            weights[k],
            moments[k],
            buffer,
            flux[series[i]],
            moment_sums,
            pair,
            excess,
        )
        sums_between(buffer, edges, courses[i])
        kept = min(found, limit)
        for j in range(kept):
            event_series[used + j] = series[i]
            event_excess[used + j] *= weights[k]
        used += kept
    return used


@compiled_sums
def _within(values, limit):
    """Of pairs of values (2n,) that differ by at most `limit`: sum of squared differences, sum of values, number."""
    squares, total, count = np.float32(0), np.float32(0), np.int32(0)
    for i in range(values.shape[0] // 2):
        difference = values[2 * i] - values[2 * i + 1]
        inside = np.float32(abs(difference) <= limit)
        squares += inside * difference * difference
        total += inside * (values[2 * i] + values[2 * i + 1])
        count += np.int32(inside)
    return squares, total, count


@compiled
def _clipped_statistics(addresses, length, parameters, starts, run, first, stop, result):
    """Mean (e-), noise of a pair (e-), saturated fraction of pixels first..stop over `run` pairs from each starts[i].

    Clipped at 5 sigma in four rounds. The noise comes from differences of adjacent pairs, in which a transit cancels.
    addresses (pixels,) of `Signal`, `length` reads each; parameters in their order; `run` even; result (3, pixels).
    """
    n = starts.shape[0]
    reads = np.empty(n * 2 * run, np.uint16)
    values = np.empty(n * run, np.float32)
    for k in range(first, stop):
        raw = numba.carray(uint16_at(addresses[k]), (length,))
        for i in range(n):  # loads that do not wait for each other: memory answers many at a time
            reads[i] = raw[2 * starts[i]]
        for i in range(n):
            reads[i * 2 * run : (i + 1) * 2 * run] = raw[2 * starts[i] : 2 * (starts[i] + run)]
        saturated = 0
        for i in range(n * run):
            saturated += reads[2 * i + 1] == SATURATED_ADU
        pixel_cds(reads, parameters[k], values)
        limit = np.float32(np.inf)
        for _ in range(4):
            squares, _, count = _within(values, limit)
            sigma = np.sqrt(squares / np.float32(max(count, 1)))
            limit = 5 * sigma
        _, total, count = _within(values, limit)
        result[0, k] = total / np.float32(max(2 * count, 1))
        result[1, k] = sigma / np.float32(np.sqrt(2))
        result[2, k] = saturated / (n * run)


def _blocks(n: int, blocks: int, lost: NDArray[np.bool_] | None) -> tuple[NDArray[np.int64], int]:
    """Starts and length of the runs of adjacent pairs in `image_statistics`."""
    blocks, run = (blocks, BLOCK_PAIRS) if n >= blocks * BLOCK_PAIRS else (1, n - n % 2)
    starts = np.linspace(0, n - run, blocks).astype(np.int64)
    if lost is None or not lost.any():
        return starts, run
    for shorter in (run, 2) if blocks > 1 else (2,):
        whole = np.flatnonzero(~np.lib.stride_tricks.sliding_window_view(lost, shorter).any(axis=1))
        if len(whole):  # the nearest ones; of a short visit, all that do not overlap
            near = whole[np.argmin(np.abs(whole - starts[:, None]), axis=1)]
            return near if blocks > 1 or (whole % 2 == 1).all() else whole[whole % 2 == 0], shorter
    raise ValueError("no two adjacent pairs of reads show the star")


def image_statistics(
    signal: Signal,
    parameters: NDArray[np.float32],
    blocks: int,
    threads: int = 1,
    lost: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean image, noise of a pair and saturated fraction, each (rows, cols) float32, from `blocks` x 16 adjacent pairs.

    The blocks are spread evenly over the visit, and none holds a pair that is `lost` (n,); of a shorter visit, all
    pairs count. Pixels that `signal` does not hold are NaN. Raises ValueError for a visit of a single pair.
    """
    instrument, count, n = signal.instrument, len(signal.pixels), signal.n_pairs
    if n < 2:
        raise ValueError("the visit is a single pair of reads: that is no light curve")
    starts, run = _blocks(n, blocks, lost)
    found = np.empty((3, count), np.float32)
    addresses, own = signal.addresses, parameters[signal.pixels]
    bounds = np.linspace(0, count, max(1, threads) + 1).astype(int)

    def work(part: int) -> None:
        _clipped_statistics(addresses, 2 * n, own, starts, run, bounds[part], bounds[part + 1], found)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(work, range(max(1, threads))))
    result = np.full((3, instrument.n_pixels), np.nan, np.float32)
    result[:, signal.pixels] = found
    mean, noise, saturated = result.reshape(3, instrument.rows, instrument.cols)
    return mean, noise, saturated
