"""Pairs of frames that do not show the star cost themselves: single ones of any content, gaps of any kind."""

import numpy as np
import polars as pl
import pytest
import small_visit as sv

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS
from kitlib.base.schema import LightCurveConfig
from kitlib.detector.axes import Axis
from kitlib.detector.calibrate import calibration_maps
from kitlib.detector.cleaning import bridged
from kitlib.detector.extraction import BLOCKS, extract, needed_pixels
from kitlib.detector.frames import read_calibration
from kitlib.detector.glitches import lost_pairs
from kitlib.detector.tables import Adc
from kitlib.transit.series import series_of

SAMPLES = 60
PAIRS = {instrument.name: 16 * BLOCKS[instrument.name] + 88 for instrument in INSTRUMENTS}  # the mean image samples
both = pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Calibration maps and (pairs, 2, pixels) frames of a sound visit of each instrument."""
    folder, found = tmp_path_factory.mktemp("visits"), {}
    for instrument in INSTRUMENTS:
        files = sv.calibration(instrument.name, np.random.default_rng(3))
        sv.write_calibration(folder / f"{instrument.name}_calibration_0", files)
        maps = calibration_maps(read_calibration(folder, instrument, 0), instrument, 5.0)
        visit = sv.Visit(pairs=PAIRS[instrument.name], depth=0.03, hits=3 if instrument is AIRS else 0)
        frames = sv.frames(instrument.name, files, visit)[0]
        found[instrument.name] = maps, frames.reshape(visit.pairs, 2, -1)
    return found


def curve_of(instrument, maps, frames):
    signal = sv.signal_of(instrument, frames.reshape(-1, instrument.n_pixels), needed_pixels(instrument))
    axis = Axis(np.linspace(0, 7.49, len(frames)), *sv.EXPOSURES[instrument.name])
    return extract(signal, maps, axis, Adc(), LightCurveConfig(samples=SAMPLES))


def spread(count):
    """Single pairs all over the visit, the first and the last among them, most of them in the mean image."""
    return np.linspace(0, count - 1, 9).astype(int)


def full_scale(frames, place, instrument):
    frames[place] = 65_535


def zeros(frames, place, instrument):
    frames[place] = 0


def last_read_full(frames, place, instrument):
    frames[place, 1] = 65_535


def upper_half_full(frames, place, instrument):
    half = instrument.n_pixels // 2
    frames[place, :, half:] = 65_535


def edge_full(frames, place, instrument):
    """Five rows far from the star."""
    frames[place, 1, : 5 * instrument.cols] = 65_535


def noise(frames, place, instrument):
    frames[place] = np.random.default_rng(1).integers(0, 65_536, frames[place].shape, dtype=np.uint16)


GLITCHES = [full_scale, zeros, last_read_full, upper_half_full, edge_full, noise]


@both
@pytest.mark.parametrize("glitch", GLITCHES, ids=lambda f: f.__name__)
def test_a_glitch_in_single_pairs_costs_these_pairs(visits, instrument, glitch):
    maps, frames = visits[instrument.name]
    struck, place = frames.copy(), spread(len(frames))
    glitch(struck, place, instrument)
    sound, curve = (curve_of(instrument, maps, f) for f in (frames, struck))
    assert curve.quality["pairs_rejected"] == sound.quality["pairs_rejected"] + len(place)
    assert curve.pairs.sum() == sound.pairs.sum() - len(place)
    for name in ("saturated_fraction", "masked_fraction"):
        assert curve.quality[name] == pytest.approx(sound.quality[name], abs=0.001)
    assert np.isfinite(curve.flux_e).mean() > np.isfinite(sound.flux_e).mean() - 0.01
    untouched = curve.pairs == sound.pairs
    change = ((curve.flux_e - sound.flux_e) / np.sqrt(sound.variance_e2))[untouched]
    assert np.nanmax(np.abs(change)) < 0.5 and np.sqrt(np.nanmean(change**2)) < 0.1
    share = np.sqrt(np.nanmean((curve.flux_e - sound.flux_e) ** 2 / sound.variance_e2))
    assert share < 0.5  # samples that lost one of their pairs move by part of their noise


@both
@pytest.mark.parametrize("kind", ["dark", "half", "frozen"])
def test_a_gap_costs_its_pairs_and_nothing_beside_them(visits, instrument, kind):
    maps, frames = visits[instrument.name]
    start, stop = len(frames) // 2 + 3, len(frames) // 2 + 3 + len(frames) // 20
    broken = frames.copy()
    dark = np.full_like(frames[0, 0], 437)
    gap = {
        "dark": dark,
        "half": (frames[start:stop].astype(int) + 437) // 2,
        "frozen": frames[start - 1],
    }
    broken[start:stop] = gap[kind]
    sound, curve = (curve_of(instrument, maps, f) for f in (frames, broken))
    assert curve.quality["pairs_rejected"] == sound.quality["pairs_rejected"] + stop - start
    assert (np.diff(curve.time_h) > 0).all()
    empty = curve.pairs == 0
    assert empty.any() and np.isnan(curve.flux_e[empty]).all()
    whole = curve.pairs == sound.pairs
    relative, expected = (c.flux_e / np.nanmedian(c.flux_e[whole], axis=0) for c in (curve, sound))
    sigma = np.sqrt(sound.variance_e2) / np.nanmedian(sound.flux_e, axis=0)
    assert np.nanmax(np.abs((relative - expected) / sigma)[whole]) < 0.3  # of the noise
    at_edge = ~whole & ~empty  # partly inside the gap: their star is there in full
    flux = np.nansum(curve.flux_e[at_edge], axis=1) / np.nansum(sound.flux_e[at_edge], axis=1)
    assert np.abs(flux - 1).max() < 0.01


@both
def test_every_second_pair_of_a_tenth_of_the_visit_may_be_dark(visits, instrument):
    maps, frames = visits[instrument.name]
    broken = frames.copy()
    place = np.arange(len(frames) // 3, len(frames) // 3 + len(frames) // 10, 2)
    broken[place] = 437
    sound, curve = (curve_of(instrument, maps, f) for f in (frames, broken))
    assert curve.pairs.sum() == sound.pairs.sum() - len(place)
    assert np.isfinite(curve.flux_e).mean() > np.isfinite(sound.flux_e).mean() - 0.01


@both
def test_sound_pairs_are_not_lost(visits, instrument):
    _, frames = visits[instrument.name]
    seen = sv.signal_of(instrument, frames.reshape(-1, instrument.n_pixels), needed_pixels(instrument))
    assert not lost_pairs(seen).any()
    deep = sv.frames(
        instrument.name,
        sv.calibration(instrument.name, np.random.default_rng(1)),
        sv.Visit(pairs=120, depth=0.1, jitter_px=0.2, transit=(0.6, 0.9)),
    )[0]
    assert not lost_pairs(sv.signal_of(instrument, deep, needed_pixels(instrument))).any()


@both
def test_no_real_pair_is_lost(real_dir, instrument):
    path = real_dir / "competition" / "train" / "342072318" / instrument.signal_file(0)
    frames = pl.read_parquet(path).to_numpy().reshape(-1, instrument.n_pixels)  # stored flattened
    signal = sv.signal_of(instrument, frames, needed_pixels(instrument))
    assert signal.n_pairs and not lost_pairs(signal).any()


@both
def test_a_visit_without_light_loses_no_pair(instrument):
    """It is another fault, and reported as such."""
    dark = np.full((40, instrument.n_pixels), 437, np.uint16)
    assert not lost_pairs(sv.signal_of(instrument, dark, needed_pixels(instrument))).any()


def test_a_visit_that_shows_the_star_nowhere_twice_is_refused(visits):
    maps, frames = visits[FGS1.name]
    few = np.repeat(frames[:2], 20, axis=0)  # two pairs, each sent twenty times
    few[1] = few[21] = 437
    with pytest.raises(ValueError, match="no two adjacent pairs"):
        curve_of(FGS1, maps, few)


def test_lost_places_are_bridged_by_straight_lines():
    series = np.array([[9.0, 1.0, 9.0, 9.0, 4.0, 9.0]])
    lost = np.array([True, False, True, True, False, True])
    np.testing.assert_allclose(bridged(series, lost), [[1, 1, 2, 3, 4, 4]])


def test_the_fit_sees_no_sample_of_a_gap(visits):
    from kitlib.base.products import PlanetLightCurves

    maps, frames = visits[AIRS.name]
    broken = frames.copy()
    broken[200:240] = 437
    curve = curve_of(AIRS, maps, broken)
    (seen,) = series_of(PlanetLightCurves(1, ({AIRS.name: curve},)), True)
    used = seen.weight[:, 0] > 0
    assert used[curve.pairs == 0].sum() == 0 and np.abs(seen.flux[used] - 1).max() < 0.05
