"""A second star in the field is found by its light that does not dip, and no depth depends on it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS
from kitlib.base.products import LightCurve, PlanetLightCurves
from kitlib.base.schema import LightCurveConfig
from kitlib.detector.axes import Axis
from kitlib.detector.calibrate import calibration_maps
from kitlib.detector.extraction import extract, needed_pixels
from kitlib.detector.frames import RawCalibration, Signal
from kitlib.detector.lightcurves import MOST_DILUTED, _blended, _Found, _unresolved
from kitlib.detector.neighbour import Neighbour as Found
from kitlib.detector.neighbour import separated, transit_course
from kitlib.detector.sky import without_lit_edge
from kitlib.detector.tables import Adc
from kitlib.simulate.detector import draw_detector
from kitlib.simulate.exposure import simulate_frames
from kitlib.simulate.lightcurves import transit_model
from kitlib.simulate.optics import airs_psf, fgs1_psf
from kitlib.simulate.systems import draw_systems
from kitlib.simulate.visits import Drift, Visit, draw_wander, pair_times_h
from kitlib.simulate.worlds import OWN, Neighbour
from kitlib.transit.dilution import dilution_errors

DEPTH, T0_H = 0.012, 3.7
PAIRS = {FGS1.name: 3000, AIRS.name: 750}
SPECTRUM = np.full(283, DEPTH)
SYSTEM = replace(draw_systems(1, np.random.default_rng(4)), impact=np.array([0.2]))
DRIFT = {one.name: Drift(5e-4, np.array([0.3, 0.7]), np.ones(1)) for one in INSTRUMENTS}
VISIT = Visit(dict.fromkeys(DRIFT, T0_H), DRIFT, None)
PLACES = [(0.05, 5.0, 0.7), (0.2, 8.0, 0.3), (0.4, 3.5, 1.4), (1.0, 3.0, 1.2), (1.0, 9.0, 1.5), (1.0, 5.0, -0.8)]


@cache
def curve_of(instrument, neighbour=None, beside=None, seed=7, wander_px=0.0, depth=DEPTH, intrapixel=0.0):
    """The kit's light curve of a thin visit. Several tests ask for the same one: none changes it."""
    rng = np.random.default_rng(seed)
    detector, pairs = draw_detector(instrument, rng), PAIRS[instrument.name]
    world = replace(OWN, neighbour=neighbour)
    visit = replace(VISIT, wander=draw_wander(np.random.default_rng(seed), wander_px)) if wander_px else VISIT
    visit = replace(visit, intrapixel=intrapixel, phase=(0.25, 0.25))
    frames = simulate_frames(instrument, SYSTEM, np.full(283, depth), visit, detector, pairs, rng, world=world)
    files, pixels = detector.files, needed_pixels(instrument)
    flat = np.where(files.flat > 0.2, files.flat, 1.0)
    nothing = np.zeros(flat.shape, bool)
    maps = (files.dark_e_per_s, files.dead, flat, files.linear_corr, files.read_noise_e, nothing)
    seen = Signal(instrument, pixels, [np.ascontiguousarray(frames[pixel]) for pixel in pixels])
    axis = Axis(pair_times_h(instrument, pairs), instrument.first_read_s, instrument.last_read_s)
    maps = calibration_maps(RawCalibration(instrument, *maps), instrument, 5.0)
    return extract(seen, maps, axis, Adc(), LightCurveConfig(samples=250), beside)


def depth_over_truth(instrument, curve):
    """Fitted depth of the white light curve over the true one, and its error."""
    bins = slice(0, 1) if instrument is FGS1 else slice(1, 283)
    model = transit_model(SYSTEM, SPECTRUM, T0_H, curve.time_h, bins).mean(axis=1)
    flux = np.nansum(curve.flux_e.astype(float), axis=1)
    used = np.isfinite(curve.flux_e).all(axis=1)
    time = np.linspace(-1, 1, len(flux))
    design = np.stack([np.ones_like(time), time, time**2, 1 - model], axis=1)[used]
    solution = np.linalg.lstsq(design, flux[used], rcond=None)[0]
    error = np.sqrt(np.linalg.inv(design.T @ design)[3, 3] * np.var(flux[used] - design @ solution))
    return -solution[3] / solution[0], error / solution[0]


def at(flux, distance, angle):
    return Neighbour(flux, (distance * np.sin(angle), distance * np.cos(angle)))


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_fgs1_depths_do_not_depend_on_a_neighbour(place):
    neighbour = at(*place)
    curve, alone = (curve_of(FGS1, one) for one in (neighbour, None))
    quality = curve.quality
    assert quality["neighbour_flux"] == pytest.approx(neighbour.flux, rel=0.15)
    where = np.array([quality["neighbour_row_px"], quality["neighbour_column_px"]])
    assert np.abs(where - neighbour.offset_px).max() < 0.4
    depth, error = depth_over_truth(FGS1, curve)
    expected, own = depth_over_truth(FGS1, alone)  # of the same noise
    dilution = depth * quality["neighbour_share_sd"] / (1 - quality["neighbour_share"])
    assert abs(depth - expected) < 3 * np.hypot(dilution, 0.5 * np.hypot(error, own))


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_airs_depths_do_not_depend_on_a_neighbour_at_another_row(place):
    neighbour = at(*place)
    curve = curve_of(AIRS, neighbour, Found(place[0], 0.02, (neighbour.offset_px[0], 0.0)))
    depth, error = depth_over_truth(AIRS, curve)
    sd = curve.quality["neighbour_share_sd"] / (1 - curve.quality["neighbour_share"])
    assert abs(depth - 1) < 3 * np.hypot(error, sd) and abs(depth - 1) < 0.03
    assert sd < 0.15


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_a_star_alone_has_no_neighbour(instrument):
    for seed in (7, 8):
        assert not any("neighbour" in name for name in curve_of(instrument, seed=seed).quality)


@pytest.mark.parametrize("seed", [10, 19, 21, 23])
def test_a_star_that_wanders_across_the_pixels_has_no_neighbour(seed):
    """A third of a pixel, slowly, in any direction, a deep transit: what follows it is not another star."""
    curve = curve_of(FGS1, seed=seed, wander_px=0.3, depth=0.03)
    assert "neighbour_flux" not in curve.quality


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_a_neighbour_that_draws_the_centroid_does_not_change_the_depth(instrument):
    """The light follows the target's place, and the blend's centroid moves as the target dims."""
    curve = curve_of(instrument, at(1.0, 5.0, 1.4), intrapixel=0.01)
    own = curve_of(instrument, at(1.0, 5.0, 1.4))
    depth, error = depth_over_truth(instrument, curve)
    assert abs(depth - depth_over_truth(instrument, own)[0]) < 4 * error


def test_what_fgs1_sees_is_told_to_airs_where_its_rows_are_too_near():
    fgs1 = curve_of(FGS1, at(0.3, 6.0, 0.1))
    airs = curve_of(AIRS, at(0.3, 6.0, 0.1))
    assert "neighbour_flux" not in airs.quality and depth_over_truth(AIRS, airs)[0] < 0.85  # it cannot know
    beside = _unresolved(_Found(fgs1, "", ()), _Found(airs, "", ()))
    assert beside is not None and beside.flux == fgs1.quality["neighbour_flux"]
    told = curve_of(AIRS, at(0.3, 6.0, 0.1), beside)
    depth, error = depth_over_truth(AIRS, told)
    assert abs(depth - 1) < 3 * np.hypot(error, told.quality["neighbour_share_sd"]) and abs(depth - 1) < 0.05
    far = replace(fgs1, quality=fgs1.quality | {"neighbour_row_px": 5.0})
    assert _unresolved(_Found(far, "", ()), _Found(airs, "", ())) is None
    assert _unresolved(_Found(fgs1, "", ()), _Found(told, "", ())) is None
    assert _unresolved(_Found(None, "", ()), _Found(airs, "", ())) is None


@pytest.mark.parametrize("flux", [0.05, 1.0])
@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_two_images_of_one_shape_are_separated(instrument, flux):
    """The truth is the optics', the template an interpolated image: 4 % of a faint neighbour's light is misplaced, and
    11 % of one as bright as the target."""
    offset = (1.4, -3.7) if instrument is FGS1 else (2.6, 0.0)
    columns = slice(40, 320, 40)
    star, other = (
        2e5 * (fgs1_psf(place) if instrument is FGS1 else airs_psf(place[0]).T[:, columns])
        for place in ((0.0, 0.0), offset)
    )
    other = flux * other
    alone, taken = separated(star + other, flux, offset, np.zeros(32, bool))
    assert alone.sum() == pytest.approx(star.sum(), rel=0.04)
    assert taken.sum() == pytest.approx(other.sum(), rel=0.04)
    assert np.abs(taken - other).sum() < (0.05 if flux < 0.1 else 0.12) * other.sum()


def test_the_course_of_a_transit():
    time = np.linspace(0, 7.5, 60)
    noise = 1e-5 * np.random.default_rng(0).standard_normal(60)
    dip = 0.01 * ((time > 2.5) & (time < 5))
    course = transit_course(1e5 * (1 - dip + noise) * (1 + 3e-3 * (time / 7.5) ** 2))
    np.testing.assert_allclose(course, dip, atol=3e-4)
    assert transit_course(1e5 * (1 + noise)) is None and transit_course(np.full(60, 1e5)) is None


def test_an_edge_of_airs_on_which_a_star_shines_shows_no_sky():
    mean, good = np.full((32, 356), 30.0), np.ones((32, 356), bool)
    assert without_lit_edge(mean, good, AIRS).all()
    mean[27:] += 40
    seen = without_lit_edge(mean, good, AIRS)
    assert not seen[27:].any() and seen[:27].all() and good.all()
    assert without_lit_edge(mean[:, :32], good[:, :32], FGS1).all()


def test_the_error_of_the_dilution():
    def curve(instrument, **quality):
        empty = np.zeros((3, 1))
        return LightCurve(instrument, empty[:, 0], empty, empty, np.ones(3, np.int32), empty, quality)

    sound = {FGS1.name: curve(FGS1), AIRS.name: curve(AIRS)}
    assert dilution_errors(PlanetLightCurves(1, (sound,))) is None
    found = {"neighbour_flux": 0.5, "neighbour_share": 0.2, "neighbour_share_sd": 0.04}
    both = PlanetLightCurves(1, (sound, {FGS1.name: curve(FGS1, **found), AIRS.name: curve(AIRS)}))
    assert dilution_errors(both) == (pytest.approx(0.05), 0.0, 0.5)
    alone = PlanetLightCurves(1, ({FGS1.name: curve(FGS1, **found)},))  # AIRS is answered from it
    assert dilution_errors(alone) == (pytest.approx(0.05), pytest.approx(0.05), 0.5)


def test_airs_is_left_out_where_its_light_is_anybodys():
    def seen(sd):
        empty = np.zeros((3, 1))
        quality = {"neighbour_flux": 0.9, "neighbour_share": 0.4, "neighbour_share_sd": sd, "neighbour_row_px": -1.7}
        return _Found(LightCurve(AIRS, empty[:, 0], empty, empty, np.ones(3, np.int32), empty, quality), "", ())

    assert not _blended(seen(0.6 * MOST_DILUTED * 0.99)) and not _blended(_Found(None, "no frames", ()))
    words = _blended(seen(0.06))
    assert "90%" in words and "1.7 rows" in words and "10%" in words
