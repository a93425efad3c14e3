"""Signals put into raw frames: a copy of a planet's folder in which only the signal files that they touch are new.

Electrons are added where the star's light falls, before the detector's non-linearity and the converter, and the result
is rounded at random, so that on average a fiftieth of an ADU is not lost. Row groups are rewritten one by one.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.ndimage import shift, spline_filter

from ..base.instruments import AIRS_OVER_FGS1_JITTER, FGS1, INSTRUMENTS, PPM, Instrument
from ..base.products import Array, CalibrationMaps
from ..base.schema import LightCurveConfig
from ..detector import (
    BLOCKS,
    SATURATED_ADU,
    Adc,
    Axis,
    AxisInfo,
    FrameError,
    adc_to_electrons,
    airs_profile,
    calibration_maps,
    fgs1_profile,
    good_pixels,
    image_statistics,
    kernel_parameters,
    linearise,
    list_visits,
    needed_pixels,
    read_calibration,
    read_signal,
    scan_signal,
    short_reason,
)
from .signals import SIGNALS, Scene, factor, in_burst

HOT_OFFSET_ROWS = 3  # of the hot pixel, from the middle of the trace

# (pairs (n,), exposure of each read over that of a pair (n,), light of the star (n, cols), row) -> electrons (n, cols)
Added = Callable[[NDArray[np.int64], Array, Array, int], Array]


@dataclass(frozen=True)
class Exposure:
    """One instrument's visit as far as an injection must know it."""

    instrument: Instrument
    axis: Axis
    maps: CalibrationMaps
    adc: Adc
    good: NDArray[np.bool_]  # (rows, cols)
    star: Array  # (rows, cols) mean electrons per CDS pair, flat field divided out; 0 beyond the columns in use
    background: Array  # (rows, cols) the same of the sky


def read_exposure(
    planet_dir: Path, instrument: Instrument, visit: int, axis: AxisInfo, adc: dict[str, Adc], config: LightCurveConfig
) -> Exposure:
    """Calibration maps and mean image of a visit. Raises FrameError, or ValueError where there is no light."""
    maps = calibration_maps(read_calibration(planet_dir, instrument, visit), instrument, config.hot_sigma)
    times, converter = axis.of(instrument), adc[instrument.name]
    signal = read_signal(planet_dir, instrument, visit, len(times.time_h), needed_pixels(instrument))
    parameters = kernel_parameters(maps, times, converter)
    mean, noise, saturated = image_statistics(signal, parameters, BLOCKS[instrument.name])
    good = good_pixels(maps, mean, noise, saturated)
    profile = fgs1_profile if instrument.name == FGS1.name else airs_profile
    shape, flux, background = profile(mean, good, instrument)
    sky = np.broadcast_to(np.maximum(background, 0.0), shape.shape)
    star = np.zeros(shape.shape)
    lit = np.s_[:, slice(*instrument.crop)]  # most pixels beyond are not read: there the profile's flux means nothing
    star[lit] = (shape * flux)[lit]
    return Exposure(instrument, times, maps, converter, good, star, sky)


def inject_frames(
    planet_dir: Path,
    root: Path,
    name: str,
    amplitude: float,
    scene: Scene,
    axis: AxisInfo,
    adc: dict[str, Adc],
    config: LightCurveConfig,
    seed: int,
) -> Path:
    """A copy of a planet's folder in `root`, with a signal in its frames; returns the copy.

    Files that the signal does not touch are symbolic links. Raises FrameError, or ValueError for frames without light.
    """
    signal, planet_dir = SIGNALS[name], Path(planet_dir).resolve()
    touched = [
        (instrument, visit, number)
        for number, visit in enumerate(list_visits(planet_dir))
        for instrument in signal.instruments
        if signal.hits(number) and (planet_dir / instrument.signal_file(visit)).is_file()
    ]
    rewritten = {instrument.signal_file(visit) for instrument, visit, _ in touched}
    copy = Path(root) / planet_dir.name
    copy.mkdir(parents=True)
    for entry in planet_dir.iterdir():
        if entry.name not in rewritten:
            _link(entry, copy / entry.name)
    for instrument, visit, number in touched:
        exposure = read_exposure(planet_dir, instrument, visit, axis, adc, config)
        order = [one.name for one in INSTRUMENTS].index(instrument.name)
        rng = np.random.default_rng([seed, int(planet_dir.name), visit, order])
        added = _added(name, amplitude, scene, number, exposure, rng)
        file = instrument.signal_file(visit)
        rewrite(planet_dir / file, copy / file, exposure, added, rng)
    return copy


def _link(source: Path, target: Path) -> None:
    """Links to a file, or to all files of a folder; copies on a file system that has none.

    Modes and times stay behind: a folder that may only be read would pass that on to its copy, and some file systems
    refuse them.
    """
    if source.is_dir():
        target.mkdir()
        for entry in source.iterdir():
            _link(entry, target / entry.name)
        return
    try:
        os.symlink(source, target)
    except OSError:
        shutil.copyfile(source, target)


def rewrite(source: Path, target: Path, exposure: Exposure, added: Added, rng: np.random.Generator) -> None:
    """Copy a signal file with electrons added, row group by row group. Raises FrameError where it is damaged."""
    rows, cols = exposure.maps.flat.shape
    start = 0
    try:
        lazy = scan_signal(source, exposure.maps.instrument)
        meta, stored = pq.read_metadata(source), pq.read_schema(source)
        schema = pa.schema([stored.field(name) for name in lazy.collect_schema().names()])
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}
        with pq.ParquetWriter(target, schema, **options) as writer:
            for group in range(meta.num_row_groups):
                length = meta.row_group(group).num_rows
                # polars decodes a row group four times as fast as pyarrow, which alone writes them one by one
                pixels = lazy.slice(start, length).collect().rechunk().to_arrow().columns
                frames = np.arange(start, start + length)
                for row in range(rows):
                    where = slice(row * cols, (row + 1) * cols)
                    adu = np.stack([pixel.to_numpy() for pixel in pixels[where]], axis=1)
                    new = injected(adu, exposure, row, frames, added, rng)
                    for col in np.flatnonzero((new != adu).any(0)):
                        pixels[where.start + col] = pa.chunked_array([np.ascontiguousarray(new[:, col])])
                writer.write_table(pa.table(pixels, schema=schema), row_group_size=length)
                start += length
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise FrameError(source, f"cannot be rewritten ({short_reason(error)})") from error


def injected(
    adu: NDArray[np.uint16],
    exposure: Exposure,
    row: int,
    frames: NDArray[np.int64],
    added: Added,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """One row of pixels (n, cols) with electrons added, in ADU; dead and saturated pixels stay as they are.

    `frames` (n,) are the numbers of the frames since the visit's start; reads alternate first, last.
    """
    maps, axis = exposure.maps, exposure.axis
    seconds = np.array([axis.first_read_s, axis.last_read_s])[frames % 2]
    share = seconds / axis.cds_s
    coefficients = maps.linear_corr[:, row]
    slope = coefficients[1:] * np.arange(1, len(coefficients))[:, None]
    electrons = adc_to_electrons(adu.astype(np.float64), exposure.adc)
    linear = linearise(electrons, coefficients)
    dark = np.outer(seconds, maps.dark_e_per_s[row])
    sky = np.outer(share, exposure.background[row] * maps.flat[row])
    extra = added(frames // 2, share, linear - dark - sky, row)
    extra = np.where(maps.dead[row] | (adu >= SATURATED_ADU), 0.0, extra)
    if not extra.any():
        return adu
    raw = electrons
    for _ in range(2):  # Newton's method on the detector's response
        raw = raw - (linearise(raw, coefficients) - linear - extra) / linearise(raw, slope)
    moved = np.floor(adu + (raw - electrons) * exposure.adc.gain + rng.random(adu.shape))
    return np.where(extra == 0, adu, np.clip(moved, 0, SATURATED_ADU)).astype(np.uint16)


def _added(
    name: str, amplitude: float, scene: Scene, visit: int, exposure: Exposure, rng: np.random.Generator
) -> Added:
    if name == "hot_pixel":
        return _hot_pixel(amplitude, exposure)
    if name == "jitter_burst":
        return _shifted(amplitude, scene, visit, exposure, rng)
    instrument = exposure.instrument
    excess = factor(name, amplitude, scene, visit, instrument, exposure.axis.time_h) - 1
    if instrument.descending:  # columns outside of the crop take the nearest bin's
        excess = excess[:, np.clip(instrument.crop[1] - 1 - np.arange(instrument.cols), 0, instrument.n_bins - 1)]

    def added(pairs: NDArray[np.int64], share: Array, light: Array, row: int) -> Array:
        return excess[pairs] * light

    return added


def hot_pixel(exposure: Exposure) -> tuple[int, int]:
    """Row and column of the pixel that turns hot: a good one in the middle column, beside the middle of the trace."""
    instrument = exposure.instrument
    col = sum(instrument.crop) // 2
    rows = np.flatnonzero(exposure.good[:, col])
    if not len(rows):
        raise ValueError(f"column {col} of {instrument.name} has no good pixel")
    return int(rows[np.argmin(np.abs(rows - instrument.centre[0] - HOT_OFFSET_ROWS))]), col


def _hot_pixel(amplitude: float, exposure: Exposure) -> Added:
    """From mid-visit on a current of `amplitude` ppm of the light of its column."""
    hot_row, col = hot_pixel(exposure)
    level = amplitude * PPM * exposure.star[:, col].sum()
    late = exposure.axis.time_h > (exposure.axis.time_h[0] + exposure.axis.time_h[-1]) / 2

    def added(pairs: NDArray[np.int64], share: Array, light: Array, row: int) -> Array:
        found = np.zeros_like(light)
        if row == hot_row:
            found[:, col] = level * share * late[pairs]
        return found

    return added


def _shifted(amplitude: float, scene: Scene, visit: int, exposure: Exposure, rng: np.random.Generator) -> Added:
    """The star's mean image moved at random in each pair of the burst, by cubic splines; AIRS along its rows alone."""
    instrument, time_h, star = exposure.instrument, exposure.axis.time_h, exposure.star
    single = instrument.centre[1] is not None
    rms = amplitude * 1e-3 * np.array([1.0, 1.0] if single else [AIRS_OVER_FGS1_JITTER, 0.0])
    shifts = rms * in_burst(scene, visit, time_h)[:, None] * rng.standard_normal((len(time_h), 2))
    burst = np.flatnonzero(shifts.any(1))
    place = np.zeros(len(time_h), np.int64)  # of a pair in `change`, whose first image is no change
    place[burst] = np.arange(1, 1 + len(burst))
    change = np.zeros((1 + len(burst), *star.shape), np.float32)
    smooth = spline_filter(star, order=3, mode="mirror")
    for number, pair in enumerate(burst, start=1):
        change[number] = shift(smooth, shifts[pair], order=3, mode="mirror", prefilter=False) - star

    def added(pairs: NDArray[np.int64], share: Array, light: Array, row: int) -> Array:
        return change[place[pairs], row] * share[:, None] * exposure.maps.flat[row]

    return added
