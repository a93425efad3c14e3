"""Frames of a star before and in transit under a sky of any size and colour, without noise, in memory.

The simulator's optics and detectors, with wings of any share and power beside its own. Half of the pairs are out of
transit, half at full depth; rounding to ADU is dithered, so that the mean over pairs tells 0.02 e-.
"""

from dataclasses import dataclass

import numpy as np
from small_visit import signal_of

from kitlib.base.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1, Instrument
from kitlib.base.products import Array, CalibrationMaps, LightCurve
from kitlib.base.schema import LightCurveConfig
from kitlib.detector.axes import Axis
from kitlib.detector.calibrate import calibration_maps
from kitlib.detector.extraction import extract, needed_pixels
from kitlib.detector.frames import RawCalibration
from kitlib.detector.tables import Adc
from kitlib.simulate import optics
from kitlib.simulate.detector import Detector, draw_detector

DEPTH = 0.1  # mean; biases are relative, so that a deep transit needs less dithering
FEATURES = 0.02  # amplitude of the spectral features over the depth: 200 ppm where the depth is 1 %
TEMPERATURE_K, BRIGHTNESS = 5800.0, 0.8
FULL_SCALE = 65535


@dataclass(frozen=True)
class World:
    """What nobody knows of a sky and of a star's wings; the defaults are the simulator's."""

    sky: float = 1.0  # over today's
    colour: str = "own"  # own, flat, star or red: the same mean light
    in_transit: float = 1.0  # sky in transit over that before it
    wings: float = 1.0  # share of the light outside of the core over today's
    power: float = 2.0  # AIRS: wings fall as distance^-power
    fgs1_power: float = optics.FGS1_WING_POWER  # FGS1: as (1 + (r / a)^2)^-power


def sky_of(instrument: Instrument, world: World) -> Array:
    """Sky before the transit, electrons per pixel and pair: (cols,) for AIRS, (1,) for FGS1."""
    if instrument is FGS1:
        return np.array([world.sky * optics.BACKGROUND_FGS1_E])
    crop = slice(*AIRS.crop)
    own = optics.background_columns()
    star = optics.star_columns(TEMPERATURE_K, BRIGHTNESS)[1]
    place = (np.arange(AIRS.cols) - AIRS.crop[0]) / (AIRS.crop[1] - AIRS.crop[0])
    shape = {"own": own, "flat": np.ones(AIRS.cols), "star": star, "red": np.exp(-place * np.log(6))}[world.colour]
    return world.sky * shape * own[crop].mean() / shape[crop].mean()


def psf(instrument: Instrument, world: World, offset_px: tuple[float, float]) -> Array:
    """Share of the light in each pixel: (rows, cols), of a column's in AIRS, of the star's in FGS1."""
    if instrument is FGS1:
        core, wings = _fgs1_parts(world, offset_px)
        share = world.wings * (1 - optics.FGS1_CORE_FRACTION)
    else:
        core, wings = _airs_parts(world, offset_px[0])
        share = world.wings * optics.AIRS_WINGS[0]
    return (1 - share) * core + share * wings


def _airs_parts(world: World, offset_px: float) -> tuple[Array, Array]:
    wavelength = optics.column_wavelengths_um()[:, None]
    edges = np.arange(AIRS.rows + 1) - 0.5 - optics.AIRS_CENTRE_ROW - offset_px
    core = sum(part * optics.pixel_gauss(edges, start + slope * wavelength) for part, start, slope in optics.AIRS_CORE)
    fine = np.linspace(edges[0], edges[-1], 32 * AIRS.rows + 1)
    middle = (fine[1:] + fine[:-1]) / 2
    wings = (1 + (middle / (optics.AIRS_WINGS[1] * wavelength)) ** 2) ** (-world.power / 2)
    wings = wings.reshape(AIRS.cols, AIRS.rows, 32).sum(-1)
    core, wings = (part / part.sum(-1, keepdims=True) for part in (core, wings))
    return core.T, wings.T


def _fgs1_parts(world: World, offset_px: tuple[float, float]) -> tuple[Array, Array]:
    shifts = [centre + offset for centre, offset in zip(FGS1.centre, offset_px, strict=True)]
    sigmas = optics.FGS1_CORE_SIGMA_PX
    core = np.multiply.outer(
        *(optics.pixel_gauss(np.arange(33) - 0.5 - shift, s) for shift, s in zip(shifts, sigmas, strict=True))
    )
    row, col = np.mgrid[:32, :32] - np.array(shifts)[:, None, None]
    squared = row**2 + col**2
    spikes = optics.FGS1_SPIKE_FLOOR + (1 - optics.FGS1_SPIKE_FLOOR) * ((row**2 - col**2) / squared) ** 16
    wings = (1 + squared / optics.FGS1_WING_PX**2) ** -world.fgs1_power * spikes
    return core, wings / wings.sum()


def depths(instrument: Instrument) -> Array:
    """True depth: (cols,) for AIRS, with features of several widths, (1,) for FGS1."""
    if instrument is FGS1:
        return np.array([DEPTH])
    column = np.arange(AIRS.cols)
    waves = np.sin(column / 40) + 0.5 * np.sin(column / 11 + 1) + np.exp(-0.5 * ((column - 120) / 12) ** 2)
    return DEPTH * (1 + FEATURES * waves)


def expected(instrument: Instrument, world: World, pairs: int) -> Array:
    """Electrons of light between the reads (2 * pairs, rows, cols): `pairs` out of transit, as many in it."""
    fgs1, columns = optics.star_columns(TEMPERATURE_K, BRIGHTNESS)
    flux = np.array([fgs1]) if instrument is FGS1 else columns
    jitter = 0.1 if instrument is FGS1 else 0.013
    steps = jitter * np.array([(np.cos(k), np.sin(k)) for k in 2.4 * np.arange(pairs)])  # the same in both halves
    shapes = np.stack([psf(instrument, world, (step[0], step[1])) for step in steps])
    sky = sky_of(instrument, world)
    before = flux * shapes + sky
    inside = flux * (1 - depths(instrument)) * shapes + world.in_transit * sky
    return np.concatenate([before, inside])


def frames(instrument: Instrument, light: Array, detector: Detector) -> np.ndarray:
    """(2n frames, pixels) uint16 of expected light (n, rows, cols), without noise; dead pixels stay dark."""
    share = np.array([instrument.first_read_s, instrument.last_read_s]) / instrument.cds_s
    seconds = np.array([instrument.first_read_s, instrument.last_read_s])
    files, correction = detector.files, detector.linear_corr
    charge = (light * detector.response)[:, None] * share[:, None, None]
    charge = (charge + files.dark_e_per_s * seconds[:, None, None]) * ~files.dead
    read = charge.copy()
    for _ in range(4):  # the reading whose correction is the charge
        read -= np.polynomial.polynomial.polyval(read, correction, tensor=False) - charge
    rng = np.random.default_rng(0)
    start = rng.random((1, *charge.shape[1:]))
    golden = np.arange(len(light))[:, None, None, None] * (np.sqrt(5) - 1) / 2
    adu = np.floor((read - ADC_OFFSET_E) * ADC_GAIN + (start + golden) % 1 - 0.5)
    return np.clip(adu, 0, FULL_SCALE).astype(np.uint16).reshape(2 * len(light), -1)


def detector_of(instrument: Instrument, seed: int, degraded: bool = False) -> tuple[Detector, CalibrationMaps]:
    """A drawn detector, and its calibration maps as the kit makes them."""
    detector = draw_detector(instrument, np.random.default_rng(seed), degraded)
    files = detector.files
    maps = (files.dark_e_per_s, files.dead, files.flat, files.linear_corr, files.read_noise_e)
    neither = np.zeros(files.dead.shape, bool)
    neutral = np.where(files.flat > 0.2, files.flat, 1.0)
    raw = RawCalibration(instrument, maps[0], maps[1], neutral, maps[3], maps[4], neither)
    return detector, calibration_maps(raw, instrument, LightCurveConfig().hot_sigma)


def axis_of(instrument: Instrument, pairs: int) -> Axis:
    """A time axis of `pairs` pairs."""
    return Axis(np.linspace(0, 7.49, pairs), instrument.first_read_s, instrument.last_read_s)


def curve_of(instrument: Instrument, world: World, pairs: int, seed: int, degraded: bool = False) -> LightCurve:
    """The kit's light curve of 2 * pairs pairs, one sample a pair."""
    detector, maps = detector_of(instrument, seed, degraded)
    adu = frames(instrument, expected(instrument, world, pairs), detector)
    seen = signal_of(instrument, adu, needed_pixels(instrument))
    return extract(seen, maps, axis_of(instrument, 2 * pairs), Adc(), LightCurveConfig(samples=2 * pairs))


def bias(instrument: Instrument, flux: Array) -> Array:
    """Error of the depth over the depth in each light curve, from flux (2n, W), first half out of transit."""
    before, inside = np.nanmean(np.split(flux.astype(np.float64), 2), axis=1)
    truth = depths(instrument)
    if instrument is AIRS:
        truth = truth[slice(*AIRS.crop)][::-1]
    return (1 - inside / before) / truth - 1
