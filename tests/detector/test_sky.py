"""No light curve depends on the sky: depths under skies and wings of every kind, sky that flickers, what it costs."""

from dataclasses import replace

import numpy as np
import pytest
import sky_frames as sf
from small_visit import signal_of

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS
from kitlib.base.schema import LightCurveConfig
from kitlib.detector.extraction import extract, needed_pixels
from kitlib.detector.profile import _constrained_weights, _jitter_modes, pixel_variance, plan_extraction
from kitlib.detector.sky import fit_sky, sky_pixels, star_pixels
from kitlib.detector.tables import Adc
from kitlib.simulate import optics

AIRS_BIAS, FGS1_BIAS = 5e-4, 1e-3  # of the depth; each sixth of the band
WORLDS = {
    "none": sf.World(sky=0),
    "own": sf.World(),
    "flat": sf.World(sky=10, colour="flat"),
    "starlike": sf.World(sky=10, colour="star"),
    "red": sf.World(sky=10, colour="red", in_transit=1.3),
    "narrow wings": sf.World(sky=3, wings=0.5, power=3.0),
    "wide wings": sf.World(sky=10, colour="star", in_transit=0.8, wings=2.0, power=1.5, fgs1_power=1.5),
}


def sixths(values):
    return np.array([np.nanmean(part) for part in np.array_split(values, 6)])


@pytest.mark.parametrize("degraded", [False, True], ids=["sound", "degraded"])
@pytest.mark.parametrize("name", WORLDS)
def test_depths_are_the_same_under_every_sky_and_with_every_wing(name, degraded):
    world, seed = WORLDS[name], list(WORLDS).index(name)
    airs = sf.bias(AIRS, sf.curve_of(AIRS, world, 64, seed, degraded).flux_e)
    assert np.abs(sixths(airs)).max() < AIRS_BIAS
    assert np.isfinite(airs).mean() > 0.98
    fgs1 = sf.bias(FGS1, sf.curve_of(FGS1, world, 64, seed, degraded).flux_e)
    assert abs(fgs1[0]) < FGS1_BIAS


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
@pytest.mark.parametrize("colour", ["flat", "star"])
def test_a_sky_that_flickers_leaves_no_trace(instrument, colour):
    """Sky of 0 to 10 times today's drawn anew for every pair. Left is what flat-field and linearity files are wrong by:
    0.7 % a pixel, and rounding to ADU."""
    detector, maps = sf.detector_of(instrument, 5)
    star = sf.expected(instrument, sf.World(sky=0), 64)
    size = 10 * np.random.default_rng(1).random((len(star), 1, 1))
    sky = size * sf.sky_of(instrument, sf.World(colour=colour))
    axis, config = sf.axis_of(instrument, len(star)), LightCurveConfig(samples=len(star))
    dark, lit = (
        extract(signal_of(instrument, adu, needed_pixels(instrument)), maps, axis, Adc(), config).flux_e.astype(float)
        for adu in (sf.frames(instrument, light, detector) for light in (star, star + sky))
    )
    course = size[:, 0, 0] - size.mean()
    ratio = lit / dark
    kept = np.isfinite(ratio).all(axis=1) if instrument is FGS1 else np.isfinite(ratio).any(axis=1)
    assert (
        kept.mean() > 0.7
    )  # without noise, FGS1's largest offsets stand out: what its terms of jitter leave is not normal
    ratio, course = ratio[kept] / np.median(ratio[kept], axis=0) - 1, course[kept] - course[kept].mean()
    response = course @ ratio / (course @ course)  # relative change of a bin for one more of today's sky
    if instrument is FGS1:
        weight_px, light = 60, 2.1e5  # pixels of weight 1: without subtraction the response is 2e-4
        assert abs(response[0]) < 0.02 * weight_px * optics.BACKGROUND_FGS1_E / light
        return
    own = sf.sky_of(AIRS, sf.World(colour=colour))[slice(*AIRS.crop)][::-1]
    beneath = own * 10 / np.nanmedian(dark, axis=0)  # ten pixels of sky in each bin
    assert np.abs(np.nansum(response * beneath) / np.nansum(beneath**2)) < 0.005
    assert np.nanmedian(np.abs(response) / beneath) < 0.01


def test_the_fit_returns_every_smooth_and_every_starlike_sky_and_needs_no_single_column():
    flux = optics.star_columns(5000.0, 1.0)[1][slice(*AIRS.crop)]
    place = np.linspace(-1, 1, len(flux))
    usable = np.ones((len(flux), 10), bool)
    usable[[0, 100, 101, 281]] = False
    variance = np.full(usable.shape, 400.0)
    fit, weights = fit_sky(variance, usable, flux)
    skies = np.stack([7 + 0 * place, 30 * np.exp(-place), 5 + flux / 1e3, flux * (1 + place + place**2) / 1e3])
    for sky in skies:
        seen = np.sum(weights * sky[:, None], axis=1)
        assert (seen[[0, 100, 101, 281]] == 0).all()
        np.testing.assert_allclose(fit.beneath(seen), sky, rtol=1e-3)
    rng = np.random.default_rng(0)
    noise = fit.beneath(np.sum(weights[..., None] * 20 * rng.standard_normal((282, 10, 4_000)), axis=1))
    np.testing.assert_allclose(noise.var(axis=1), fit.variance_e2, rtol=0.1)
    with pytest.raises(ValueError, match="hardly a good pixel"):
        fit_sky(variance, usable & (np.arange(282) < 5)[:, None], flux)


def _plan(instrument, world):
    """Extraction from the expected image on a detector without faults, and its parts by light curve."""
    _, maps = sf.detector_of(instrument, 2)
    one = np.ones((instrument.rows, instrument.cols), np.float32)
    never = np.zeros(one.shape, bool)
    maps = replace(maps, dead=never, hot=never, flat=one, read_noise_e=13 * one)
    shape = sf.psf(instrument, world, (0.0, 0.0))
    fgs1, columns = optics.star_columns(sf.TEMPERATURE_K, sf.BRIGHTNESS)
    flux = np.array([fgs1]) if instrument is FGS1 else columns
    image = shape * flux + sf.sky_of(instrument, world)
    good = star_pixels(instrument) | sky_pixels(instrument)
    return plan_extraction(maps, np.where(good, image, np.nan), good), maps, shape, flux, image


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_what_blindness_costs_in_noise(instrument):
    """Over weights that may respond to the sky, on sixteen rows of AIRS and within 9.5 pixels in FGS1."""
    plan, maps, shape, flux, image = _plan(instrument, sf.World())
    variance = pixel_variance(image, maps)
    modes = _jitter_modes(shape, instrument)
    row, col = np.mgrid[: instrument.rows, : instrument.cols]
    if instrument is FGS1:
        star = np.hypot(row - FGS1.centre[0], col - FGS1.centre[1]) < 9.5
        parts = [part.reshape(*part.shape[:-2], 1, -1) for part in (shape, variance, star)]
        moves, level = modes.reshape(1, len(modes), -1), flux
    else:
        crop = slice(*AIRS.crop)
        star = np.abs(row - 15.5) < 8
        parts = [part[:, crop].T for part in (shape, variance, star)]
        moves, level = np.moveaxis(modes[..., crop], -1, 0), flux[crop]
    free = _constrained_weights(level, *parts, moves, np.zeros(len(level)))
    least = np.sum(free**2 * parts[1], axis=1)
    light = shape * flux
    sums = [light * plan.weights * here for here in (~plan.sky, plan.sky)]
    sums = [part.sum(axis=0)[crop] if instrument is AIRS else part.sum(keepdims=True)[0] for part in sums]
    response = plan.light_curves(*(part.reshape(-1, 1) for part in sums))[:, 0] / level
    cost = np.sqrt(plan.variance_e2 / least) / response - 1
    assert np.median(cost) < 0.02
    assert cost[:10].mean() < 0.05  # columns run from 3.9 um down
    assert cost.min() > -1e-3  # nothing can beat the weights of least variance


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_star_and_sky_share_no_pixel(instrument):
    assert not (star_pixels(instrument) & sky_pixels(instrument)).any()
    plan = _plan(instrument, sf.World())[0]
    weighted = plan.weights != 0
    assert not (weighted & ~star_pixels(instrument) & ~sky_pixels(instrument)).any()
    sky = np.where(plan.sky, plan.weights, 0.0)
    far = sky.sum() if instrument is FGS1 else sky.sum(axis=0)[slice(*AIRS.crop)]
    np.testing.assert_allclose(far, 1.0, rtol=1e-6)  # mean far light, electrons per pixel


def test_a_star_among_the_sky_pixels_is_not_taken_for_sky():
    """A neighbour of 10 % at 13.9 pixels, 90 e- in the plain mean of the sky pixels: by that, 1.9 % of the depth."""
    detector, maps = sf.detector_of(FGS1, 4)
    light = sf.expected(FGS1, sf.World(), 64)
    other = 0.1 * optics.star_columns(sf.TEMPERATURE_K, sf.BRIGHTNESS)[0] * sf.psf(FGS1, sf.World(), (9.8, 9.8))
    seen = signal_of(FGS1, sf.frames(FGS1, light + other, detector), needed_pixels(FGS1))
    curve = extract(seen, maps, sf.axis_of(FGS1, 128), Adc(), LightCurveConfig(samples=128))
    assert abs(sf.bias(FGS1, curve.flux_e)[0]) < 0.005
