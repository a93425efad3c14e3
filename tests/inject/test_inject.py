"""Inject and recover: each signal against its formula, frames read back, regressions against numbers, a whole run."""

import errno
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spectra import WL

from kitlib.__main__ import main
from kitlib.base.config import compose
from kitlib.base.instruments import (
    AIRS,
    AIRS_OVER_FGS1_JITTER,
    FGS1,
    INSTRUMENTS,
    MOLECULAR_BANDS_UM,
    N_BINS,
    Instrument,
)
from kitlib.base.products import CalibrationMaps, LightCurve, PlanetLightCurves
from kitlib.base.schema import Config, InjectConfig, LightCurveConfig
from kitlib.detector.axes import Axis, AxisInfo, read_axis_info
from kitlib.detector.calibrate import calibrate_cds
from kitlib.detector.csvtable import FrameError
from kitlib.detector.tables import Adc, read_adc_info, read_catalogue
from kitlib.inject.experiment import Answers, InjectError, Setting, Trial, _scratch, chosen_planets, experiment, trials
from kitlib.inject.frameinject import Exposure, hot_pixel, inject_frames, injected, read_exposure, rewrite
from kitlib.inject.recovery import (
    Answer,
    band_point,
    band_summary,
    band_weights,
    leakage_point,
    leakage_summary,
    regression,
    without_prior,
)
from kitlib.inject.signals import BAND_CENTRES_UM, SIGNALS, Scene, band_profile, factor, in_burst, into_lightcurves
from kitlib.run.inputs import run_calibrator
from kitlib.spectra.combination import Hypothesis, Likelihood
from kitlib.transit.priors import shipped_priors

TIME = np.linspace(0, 7.5, 376)
SCENE = Scene(
    planet_id=7,
    t0_h=(3.7, 3.2),
    period_days=4.0,
    a_over_rs=10.0,
    impact_param=0.2,
    duration_h=3.2,
    temperature_k=5800.0,
    depth=np.full(N_BINS, 0.01),
    u1=np.zeros(N_BINS),
    u2=np.zeros(N_BINS),
    wavelengths_um=WL,
)


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("molecule", BAND_CENTRES_UM)
def test_a_band_is_one_at_its_centres_and_half_as_wide_as_its_ranges(molecule):
    fine = np.concatenate([[0.7], np.linspace(1.9, 4.0, 21_001)])
    profile = band_profile(molecule, fine)
    assert profile[0] == 0 and profile.max() == pytest.approx(1, abs=1e-6)
    for centre in BAND_CENTRES_UM[molecule]:
        low, high = next(r for r in MOLECULAR_BANDS_UM[molecule] if r[0] <= centre <= r[1])
        near = np.abs(fine - centre) < high - low
        assert profile[np.argmin(np.abs(fine - centre))] == pytest.approx(1, abs=1e-4)
        assert np.ptp(fine[near & (profile >= 0.5)]) == pytest.approx((high - low) / 2, abs=5e-4)
    assert (profile == 0).mean() > 0.5


def test_a_band_deepens_the_transit_of_its_bins_by_its_amplitude():
    """A uniform disc hides depth + extra: (1 - depth - extra) / (1 - depth) in full transit, 1 outside of it."""
    by = factor("CH4", 500.0, SCENE, 0, AIRS, TIME)
    extra = 500e-6 * band_profile("CH4", WL)[1:]
    full, outside = np.abs(TIME - 3.7) < 1.0, np.abs(TIME - 3.7) > 1.8
    np.testing.assert_allclose(by[full], np.tile((0.99 - extra) / 0.99, (full.sum(), 1)), atol=2e-9)
    assert (by[outside] == 1).all() and (by[:, extra == 0] == 1).all()


def test_a_second_visit_offset_is_grey_and_follows_that_visits_transit():
    for instrument in (FGS1, AIRS):
        by = factor("second_visit_offset", 300.0, SCENE, 1, instrument, TIME)
        full = np.abs(TIME - 3.2) < 1.0
        np.testing.assert_allclose(by[full], (0.99 - 300e-6) / 0.99, atol=2e-9)
        assert (by[np.abs(TIME - 3.2) > 1.8] == 1).all()


def test_grey_nuisances_have_their_formulas():
    drift = factor("drift", 1000.0, SCENE, 0, AIRS, TIME)
    np.testing.assert_allclose(drift, np.tile(1 + 1e-3 * np.sin(2 * np.pi * TIME / 7.5)[:, None], (1, 282)))
    step = factor("step", 1000.0, SCENE, 0, FGS1, TIME)
    np.testing.assert_array_equal(step[:, 0], np.where(TIME > 3.7 + 0.8, 1 + 1e-3, 1.0))


def test_a_jitter_burst_loses_light_in_transit_and_more_in_the_blue():
    fgs1, airs = (factor("jitter_burst", 1000.0, SCENE, 0, one, TIME) for one in (FGS1, AIRS))
    hit = np.abs(TIME - 3.3) < 0.15
    np.testing.assert_array_equal(in_burst(SCENE, 0, TIME), hit)
    np.testing.assert_allclose(1 - fgs1[:, 0], 1e-3 * hit, atol=1e-15)
    np.testing.assert_allclose(1 - airs[hit], np.tile(1e-3 * (0.7 / WL[1:]) ** 2, (hit.sum(), 1)), atol=1e-15)
    assert (airs[~hit] == 1).all()


def test_a_spot_is_a_bump_in_transit_with_the_contrast_of_two_black_bodies():
    def planck(wavelength_um, kelvin):
        return 1 / (np.exp(14387.77 / (wavelength_um * kelvin)) - 1)  # second radiation constant, um K

    fgs1, airs = (factor("spot_crossing", 100.0, SCENE, 0, one, TIME) for one in (FGS1, AIRS))
    peak = np.argmax(fgs1[:, 0])
    assert TIME[peak] == pytest.approx(3.7 - 0.64, abs=0.02)
    contrast = 1 - planck(WL, 0.85 * 5800) / planck(WL, 5800)
    np.testing.assert_allclose((airs[peak] - 1) / (fgs1[peak, 0] - 1), contrast[1:] / contrast[0], rtol=1e-4)
    assert fgs1[peak, 0] == pytest.approx(1 + 1e-4, rel=1e-3)
    assert (airs[np.abs(TIME - 3.06) > 0.41] == 1).all()


IN_LIGHT_CURVES = sorted(name for name, signal in SIGNALS.items() if "lightcurves" in signal.places)


@given(st.sampled_from(IN_LIGHT_CURVES), st.floats(-5e3, 5e3), st.sampled_from([FGS1, AIRS]), st.integers(0, 1))
def test_any_amplitude_is_linear_finite_and_nothing_at_zero(name, amplitude, instrument, visit):
    time = TIME[::25]
    by = factor(name, amplitude, SCENE, visit, instrument, time)
    assert by.shape == (len(time), instrument.n_bins) and np.isfinite(by).all() and (by > 0).all()
    assert (factor(name, 0.0, SCENE, visit, instrument, time) == 1).all()
    double = factor(name, 2 * amplitude, SCENE, visit, instrument, time)
    curvature = 3e-4 * abs(amplitude) * 1e-6 if SIGNALS[name].band or name == "second_visit_offset" else 1e-12
    # the limb of a larger planet touches the star's earlier: bands are linear in full transit alone
    inside = np.abs(time - SCENE.t0_h[visit]) < 1.0
    np.testing.assert_allclose((double - 1)[inside], 2 * (by - 1)[inside], atol=max(curvature, 1e-12))


def light_curve(instrument, seed=0):
    rng = np.random.default_rng(seed)
    flux = (1e5 + rng.normal(0, 100, (len(TIME), instrument.n_bins))).astype(np.float32)
    flux[5, 0] = np.nan
    shape = len(TIME)
    return LightCurve(instrument, TIME, flux, np.full_like(flux, 1e4), np.ones(shape, np.int32), np.zeros((shape, 2)))


def test_light_curves_change_in_their_visits_and_instruments_alone():
    visit = {"FGS1": light_curve(FGS1), "AIRS-CH0": light_curve(AIRS)}
    planet = PlanetLightCurves(7, (visit, visit))
    band = into_lightcurves(planet, "CO", 400.0, SCENE)
    assert all(band.visits[i]["FGS1"] is visit["FGS1"] for i in (0, 1))
    changed = band.visits[1]["AIRS-CH0"]
    expected = visit["AIRS-CH0"].flux_e * factor("CO", 400.0, SCENE, 1, AIRS, TIME)
    np.testing.assert_array_equal(changed.flux_e, expected.astype(np.float32))
    assert changed.flux_e.dtype == np.float32 and changed.variance_e2 is visit["AIRS-CH0"].variance_e2
    step = into_lightcurves(planet, "step", 400.0, SCENE)
    assert step.visits[1]["AIRS-CH0"] is visit["AIRS-CH0"] and step.visits[0]["AIRS-CH0"] is not visit["AIRS-CH0"]
    for name in IN_LIGHT_CURVES:
        none = into_lightcurves(planet, name, 0.0, SCENE)
        for before, after in zip(planet.visits, none.visits, strict=True):
            for instrument, curve in before.items():
                np.testing.assert_array_equal(after[instrument].flux_e, curve.flux_e)


# --- frames ----------------------------------------------------------------------------------------------------------


def exposure(nonlinear: float = 0.0, instrument: Instrument = AIRS) -> Exposure:
    """A detector of known numbers: dark 2 e-/s, flat 1.1, sky 5 e- a pair, star 4e4 e- a pair in each pixel."""
    rows, cols = instrument.rows, instrument.cols
    linear = np.zeros((6, rows, cols))
    linear[1], linear[2] = 1.0, nonlinear
    flat, none = np.full((rows, cols), 1.1, np.float32), np.zeros((rows, cols), bool)
    maps = CalibrationMaps(
        instrument, np.full_like(flat, 2.0), none.copy(), none, flat, linear, np.full_like(flat, 13.0)
    )
    axis = Axis(np.linspace(0.001, 7.5, 500), 0.1, 4.6)
    full = np.ones((rows, cols))
    return Exposure(instrument, axis, maps, Adc(0.4369, -1000.0), ~none, 4e4 * full, 5.0 * full)


def reads(one: Exposure, star_e: float, rng: np.random.Generator) -> np.ndarray:
    """(1000, cols) ADU of a row whose pixels hold `star_e` e- of the star in each pair, by the detector's own law."""
    seconds = np.tile([0.1, 4.6], 500)
    electrons = (star_e + 5.0) * 1.1 * seconds / 4.5 + 2.0 * seconds
    c2 = one.maps.linear_corr[2, 0, 0]
    raw = (np.sqrt(1 + 4 * c2 * electrons) - 1) / (2 * c2) if c2 else electrons
    adu = (np.tile(raw, (AIRS.cols, 1)).T + 1000) * 0.4369
    return np.floor(adu + rng.random(adu.shape)).astype(np.uint16)


@pytest.mark.parametrize("nonlinear", [0.0, 1e-6])
def test_a_gain_in_frames_is_that_gain_of_the_calibrated_star(nonlinear):
    """Through the kit's own reference calibration: the star's electrons grow by the factor, dark and sky do not."""
    one, rng = exposure(nonlinear), np.random.default_rng(1)
    adu = reads(one, 4e4, rng)
    after = injected(adu, one, 3, np.arange(1000), lambda pairs, share, light, row: 1e-3 * light, rng)
    image = np.zeros((2, 500, 2, AIRS.rows, AIRS.cols), np.uint16)
    for stack, values in zip(image, (adu, after), strict=True):
        stack[:, :, 3] = values.reshape(500, 2, -1)
    before, now = (calibrate_cds(stack, one.maps, one.axis, one.adc)[:, 3] for stack in image)
    # 178,000 pairs of reads, each rounded at random by half an ADU, 1.1 e-: the mean is known to 0.01 e-
    assert before.mean() - 5 == pytest.approx(4e4, abs=0.1)
    assert (now - before).mean() == pytest.approx(1e-3 * 4e4, abs=0.02)


def test_zero_dead_and_saturated_reads_stay_as_they_are():
    one, rng = exposure(), np.random.default_rng(2)
    adu = reads(one, 4e4, rng)
    adu[:, 9] = 65_535
    one.maps.dead[3, 8] = True

    def grown(pairs, share, light, row):
        return 0.01 * light * (pairs > 250)[:, None]

    after = injected(adu, one, 3, np.arange(1000), grown, rng)
    assert (after[:, [8, 9]] == adu[:, [8, 9]]).all()
    assert (after[:502] == adu[:502]).all() and (after[503::2, :8] > adu[503::2, :8]).all()
    assert injected(adu, one, 3, np.arange(1000), lambda *_: 0.0 * adu, rng) is adu


def test_row_groups_of_any_size_are_kept_and_their_frames_counted_through(tmp_path):
    one, rng = exposure(instrument=FGS1), np.random.default_rng(3)
    row = reads(one, 4e4, rng)[:, : FGS1.cols]
    pixels = np.tile(row, (1, FGS1.rows))
    table = pa.table({f"column_{i}": np.ascontiguousarray(pixel) for i, pixel in enumerate(pixels.T)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=333)

    def late(pairs, share, light, number):
        return (pairs >= 400)[:, None] * light * (number == 5)

    rewrite(tmp_path / "in.parquet", tmp_path / "out.parquet", one, late, rng)
    groups = pq.read_metadata(tmp_path / "out.parquet")
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [333, 333, 333, 1]
    assert pq.read_schema(tmp_path / "out.parquet").equals(table.schema)
    frames, columns = np.argwhere(pl.read_parquet(tmp_path / "out.parquet").to_numpy() != pixels).T
    assert set(columns // FGS1.cols) == {5} and frames.min() in (800, 801) and frames.max() == 999
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "in.parquet").read_bytes()[:50_000])
    with pytest.raises(FrameError, match=r"cut\.parquet"):
        rewrite(tmp_path / "cut.parquet", tmp_path / "x.parquet", one, late, rng)


@dataclass(frozen=True)
class Sky:
    """The first test planet's frames."""

    folder: Path
    axis: AxisInfo
    adc: dict[str, Adc]
    airs: Exposure

    def copied(self, root: Path, name: str, amplitude: float) -> Path:
        return inject_frames(self.folder, root, name, amplitude, SCENE, self.axis, self.adc, LightCurveConfig(), 1)


@pytest.fixture(scope="module")
def sky(campaign):
    root = campaign / "data"
    folder = root / "test" / str(read_catalogue(root / "test_star_info.csv").planet_id[0])
    axis, adc = read_axis_info(root), read_adc_info(root).of(int(folder.name))
    return Sky(folder, axis, adc, read_exposure(folder, AIRS, 0, axis, adc, LightCurveConfig()))


def change(sky: Sky, copy: Path) -> np.ndarray:
    """Change of AIRS' electrons, (frames, rows, cols)."""
    before, after = (pl.read_parquet(f / AIRS.signal_file(0)).to_numpy() for f in (sky.folder, copy))
    return ((after.astype(float) - before) / sky.airs.adc.gain).reshape(-1, AIRS.rows, AIRS.cols)


def test_a_band_in_frames_touches_its_columns_in_transit_and_one_file_alone(sky, tmp_path):
    copy, one = sky.copied(tmp_path, "CO", 3000.0), sky.airs
    files = sorted(path.relative_to(sky.folder) for path in sky.folder.rglob("*.parquet"))
    assert files == sorted(path.relative_to(copy) for path in copy.rglob("*.parquet"))
    assert [file.name for file in files if not (copy / file).is_symlink()] == ["AIRS-CH0_signal_0.parquet"]
    added = change(sky, copy)
    profile = band_profile("CO", WL)[1:][::-1]  # of the crop's columns
    assert set(np.flatnonzero(added.any((0, 1)))) <= set(np.flatnonzero(profile) + AIRS.crop[0])
    time = np.repeat(one.axis.time_h, 2)
    by = factor("CO", 3000.0, SCENE, 0, AIRS, time)[:, ::-1] - 1
    assert not added[~by.any(1)].any()
    # electrons missing from last reads in full transit against those of the star in each column, flat included
    full = np.flatnonzero(np.abs(time - 3.7) < 1.0)[1::2]
    found = added[full][:, :, AIRS.crop[0] : AIRS.crop[1]].sum(1).mean(0)
    light = (one.star * one.maps.flat * ~one.maps.dead).sum(0)[AIRS.crop[0] : AIRS.crop[1]] * 4.6 / 4.5
    expected = by[full].mean(0) * light
    assert found[profile > 0.5].sum() == pytest.approx(expected[profile > 0.5].sum(), rel=0.05)


def test_a_file_system_that_refuses_links_modes_and_times_gets_copies(sky, tmp_path, monkeypatch):
    """FAT and some network mounts; the frames in a folder that may only be read, as Kaggle's input is."""

    def refused(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    source = tmp_path / sky.folder.name
    shutil.copytree(sky.folder, source)
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    linked = sky.copied(tmp_path / "linked", "CO", 3000.0)
    with monkeypatch.context() as patch:
        for name in ("symlink", "link", "chmod", "utime", "setxattr"):
            patch.setattr(os, name, refused)
        copied = replace(sky, folder=source).copied(tmp_path / "copied", "CO", 3000.0)
    files = sorted(path.relative_to(linked) for path in linked.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(copied) for path in copied.rglob("*") if path.is_file())
    assert not any(path.is_symlink() for path in copied.rglob("*"))
    assert all((linked / file).read_bytes() == (copied / file).read_bytes() for file in files)
    assert all(path.stat().st_mode & 0o200 for path in (copied, *copied.rglob("*")))  # else it could not be removed


def test_a_scratch_folder_that_cannot_be_removed_costs_nothing(tmp_path, monkeypatch):
    def busy(*_, **__):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patch, _scratch(dir=tmp_path) as folder:
        (Path(folder) / "file").write_text("")
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, busy)
    assert Path(folder).is_dir()


def test_a_hot_pixel_is_one_pixel_from_mid_visit_on(sky, tmp_path):
    added, one = change(sky, sky.copied(tmp_path, "hot_pixel", 20_000.0)), sky.airs
    row, col = hot_pixel(one)
    assert np.argwhere(added.any(0)).tolist() == [[row, col]] and col == 180 and one.good[row, col]
    late = np.repeat(one.axis.time_h > one.axis.time_h[[0, -1]].mean(), 2)
    assert not added[~late].any()
    rate = 0.02 * one.star[:, col].sum() / AIRS.cds_s
    assert added[late, row, col][1::2].mean() == pytest.approx(rate * AIRS.last_read_s, rel=0.05)


def test_a_jitter_burst_in_frames_moves_light_without_losing_it(sky, tmp_path):
    copy, one = sky.copied(tmp_path, "jitter_burst", 300.0), sky.airs
    added = change(sky, copy)[1::2]
    hit = in_burst(SCENE, 0, one.axis.time_h) > 0
    assert not added[~hit].any() and added[hit].any((1, 2)).all()
    assert abs(added[hit].sum()) < 0.05 * np.abs(added[hit]).sum()
    # the image's middle moves by 0.3 px rms times the ratio of both detectors' jitter, each pair by its own draw
    drawn = np.random.default_rng([1, int(sky.folder.name), 0, 1]).standard_normal((len(hit), 2))[hit, 0]
    core = slice(8, 24)
    light = (one.star * one.maps.flat).sum(1)[core].sum() * 4.6 / 4.5
    moved = added[hit].sum(2)[:, core] @ np.arange(AIRS.rows)[core] / light
    np.testing.assert_allclose(moved, 0.3 * AIRS_OVER_FGS1_JITTER * drawn, rtol=0.2, atol=1e-3)
    assert not (copy / FGS1.signal_file(0)).is_symlink()


# --- recovery --------------------------------------------------------------------------------------------------------


def test_the_slope_is_the_mean_of_the_planets_slopes():
    injected_ppm = np.array([1.0, 2.0, 1.0, 2.0, 0.0])
    line = regression(injected_ppm, np.array([0.5, 1.0, 1.1, 2.2, 0.0]), np.array([1, 1, 2, 2, 3]))
    assert (line.slope, line.error) == pytest.approx((0.8, 0.3))
    one = regression(injected_ppm[:2], np.array([1.0, 1.0]), np.array([1, 1]))
    assert one.slope == pytest.approx(3 / 5) and one.error is None  # least squares through the origin: xy / xx
    assert regression(np.zeros(2), np.ones(2), np.array([1, 2])).slope is None


def answer(mu, sd=1e-4):
    return Answer(mu, sd**2 * np.eye(N_BINS), 2 * mu, 3 * mu)


def test_a_bands_amplitude_is_its_own_whatever_the_level():
    profile = band_profile("CO2", WL)
    weights = band_weights(profile)
    assert weights @ profile == pytest.approx(1) and weights @ np.ones(N_BINS) == pytest.approx(0)
    assert weights[0] == 0
    before = answer(np.full(N_BINS, 0.01))
    point = band_point(profile, before, answer(before.mu + 250e-6 * profile + 0.002))
    shape = profile[1:] - profile[1:].mean()
    assert point["recovered"] == pytest.approx(250)
    assert point["sigma"] == pytest.approx(100 / np.sqrt(shape @ shape))  # 282 independent bins of 100 ppm
    assert (point["physics"], point["likelihood"]) == pytest.approx((500, 750))
    with pytest.raises(ValueError, match="every AIRS bin"):
        band_weights(np.ones(N_BINS))


def test_bias_and_detections_are_counted_at_each_amplitude():
    rows = [(100, 80, 20), (100, 30, 20), (200, 160, 40), (200, 60, 20)]
    points = [
        {"planet_id": i % 2, "injected": a, "recovered": r, "sigma": s, "physics": r, "likelihood": a}
        for i, (a, r, s) in enumerate(map(np.float64, row) for row in rows)
    ]
    found = band_summary(points)
    assert found["planets"] == 2
    assert found["slopes"]["recovered"]["slope"] == pytest.approx(0.55)
    assert found["slopes"]["likelihood"] == pytest.approx({"slope": 1.0, "error": 0.0})
    low, high = found["ladder"]
    assert (low["bias"], low["bias_sigma"], low["sigma"], low["detected"]) == pytest.approx((-45, -2.25, 20, 0.5))
    assert (high["bias"], high["bias_sigma"], high["sigma"], high["detected"]) == pytest.approx((-90, -4, 30, 0.5))


def test_leakage_is_told_apart_into_fgs1_level_and_shape():
    shape = np.tile([1e-5, -1e-5], 141)
    before = answer(np.full(N_BINS, 0.01))
    after = answer(before.mu + np.concatenate([[3e-4], 2e-5 + shape]), sd=2e-4)
    point = leakage_point(before, after)
    expected = {"fgs1": 300, "level": 20, "shape": 10, "worst_bin": 10, "fgs1_sigma": 3, "sigma_ratio": 2}
    assert {name: point[name] for name in expected} == pytest.approx(expected)
    assert point["level_sigma"] == pytest.approx(20 / (100 / np.sqrt(282)))
    assert point["shape_sigma"] == pytest.approx(0.1 / np.sqrt(1 - 1 / 282))
    opposite = {name: -value if name in ("level", "level_sigma") else value for name, value in point.items()}
    rows = [{"planet_id": i, "injected": 100.0, **one} for i, one in enumerate((point, opposite))]
    found = leakage_summary(rows)
    assert found["slopes"]["fgs1"] == pytest.approx({"slope": 3.0, "error": 0.0})
    assert found["slopes"]["level"] == pytest.approx({"slope": 0.0, "error": 0.2})
    assert found["ladder"][0]["level_sigma"] == pytest.approx(point["level_sigma"])  # rms: signs do not cancel
    uneven = leakage_summary([{**rows[0], "fgs1_sigma": sigma, "planet_id": i} for i, sigma in enumerate((1, -2, 7))])
    assert uneven["ladder"][0]["fgs1_sigma"] == pytest.approx(np.sqrt(54 / 3))
    assert uneven["ladder"][0]["fgs1_sigma_median"] == 2


def test_without_the_prior_the_likelihoods_own_best_fit_remains():
    rng = np.random.default_rng(4)
    depth, cross = rng.uniform(1e7, 1e8, 30), 1e7 * rng.normal(size=(30, 2))
    shared = cross.T @ (cross / depth[:, None]) * 1.5 + 1e6 * np.eye(2)
    truth, free = rng.normal(0.01, 1e-3, 30), np.ones(2, bool)
    best = rng.normal(0, 1e-4, (2, 2))  # of the shared parameters, under each hypothesis
    best[1] *= 0.9 * np.linalg.norm(best[0]) / np.linalg.norm(best[1])
    both = tuple(Hypothesis(0.0, free, shared, one) for one in best)
    precision = np.diag(depth) - cross @ np.linalg.solve(shared, cross.T)
    away = -np.linalg.solve(precision, cross @ best.T).T
    evidence = np.exp((np.einsum("hb,bc,hc->h", away, precision, away) - away[0] @ precision @ away[0]) / 2)
    assert 0.01 < evidence[1] < 100  # both count
    found = without_prior(Likelihood(truth, depth, cross, np.zeros(30), both))
    np.testing.assert_allclose(found, truth + evidence / evidence.sum() @ away, rtol=1e-3)


# --- the whole way ---------------------------------------------------------------------------------------------------


def words(campaign, out, *more):
    return ["env=ci", "data=sim_tiny", f"simulate.out={campaign}", f"run.out={out}", "run.workers=1", *more]


def test_a_strong_band_is_found_and_a_nuisance_reported(campaign, tmp_path, capsys):
    more = ["inject.planets=1", "inject.signals=[CH4,step]", "inject.where=both"]
    more += ["inject.amplitudes=[0,5000]", "inject.nuisance_amplitudes=[1000]"]
    assert main(["diagnose", "inject", *words(campaign, tmp_path, *more)]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "inject.json").read_text(), parse_constant=pytest.fail)  # no NaN: pages read it
    assert not result["left_out"] and len(result["planets"]) == 1 and len(result["points"]) == 6
    assert [(one["signal"], one["where"]) for one in result["bands"]] == [("CH4", "lightcurves"), ("CH4", "frames")]
    for band in result["bands"]:
        nothing, strong = band["ladder"]
        assert (nothing["recovered"], nothing["detected"]) == (0, 0)  # exactly
        assert strong["detected"] == 1 and strong["recovered"] > 3 * strong["sigma"]
        assert 0.5 < band["slopes"]["recovered"]["slope"] < 1.1  # the prior may keep back less than half of it
        assert band["slopes"]["likelihood"]["slope"] == pytest.approx(1, abs=0.05)
    curves, frames = (one["slopes"] for one in result["nuisances"])
    # a step of 1,000 ppm changes levels by tens to hundreds of ppm, whichever way it comes in
    assert 0.02 < abs(curves["level"]["slope"]) < 1 and abs(curves["shape"]["slope"]) < 0.1
    assert frames["level"]["slope"] == pytest.approx(curves["level"]["slope"], abs=0.03)
    assert all(word in printed for word in ("CH4", "frames", "step", "detected", str(tmp_path / "inject.json")))
    assert (tmp_path / "inject.png").read_bytes()[:4] == b"\x89PNG"
    manifest = json.loads((tmp_path / "manifests" / "inject.json").read_text())
    assert {"inject.json", "inject.png"} <= set(manifest["outputs"])
    assert not list(tmp_path.glob("inject_*"))  # the copies of the frames are gone


def test_a_planet_with_two_visits_is_added_where_a_signal_needs_one(campaign, tmp_path):
    catalogue = read_catalogue(campaign / "data" / "test_star_info.csv")
    seen_twice = 3
    for i, planet in enumerate(catalogue.planet_id):
        (tmp_path / str(planet)).mkdir()
        for visit in range(2 if i == seen_twice else 1):
            for instrument in INSTRUMENTS:
                (tmp_path / str(planet) / instrument.signal_file(visit)).touch()
                (tmp_path / str(planet) / instrument.calibration_dir(visit)).mkdir()
    settings = InjectConfig(planets=2)
    assert chosen_planets(replace(settings, signals=["CO"]), tmp_path, catalogue) == [0, 1]
    assert chosen_planets(settings, tmp_path, catalogue) == [0, 1, seen_twice]
    assert chosen_planets(replace(settings, planets=seen_twice + 1), tmp_path, catalogue) == [0, 1, 2, 3]


def test_without_a_planet_that_can_be_fitted_the_reason_is_told(campaign):
    catalogue = read_catalogue(campaign / "data" / "test_star_info.csv").take(slice(0, 1))
    config = Config()
    config.run.progress = False
    planet = int(catalogue.planet_id[0])
    setting = Setting(config, shipped_priors(), WL)
    answers = Answers([], run_calibrator("", campaign, "physics")[0])
    with pytest.raises(InjectError, match="not one of 1 planets could be fitted: no usable frames"):
        experiment(setting, answers, [lambda: PlanetLightCurves(planet, ())], catalogue, [Trial("CO", "x", 1.0)], 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inject.signals=[H20]", r"inject\.signals\[0\]=H20: give H2O, CO2"),
        ("inject.signals=[]", "none of inject.signals"),
        ("inject.signals=[hot_pixel]", "none of .* can be put into lightcurves"),
        ("inject.planets=0", r"inject\.planets=0: give a whole number, 1 or more"),
        ("inject.where=sky", r"inject\.where=sky: give lightcurves, frames or both"),
        ("inject.amplitudes=[]", r"inject\.amplitudes=\[\]"),
        ("inject.nuisance_amplitudes=[nan]", r"inject\.nuisance_amplitudes\[0\]=nan"),
    ],
)
def test_bad_settings_are_told(override, message):
    with pytest.raises(ValueError, match=message):
        trials(compose("diagnose", [override]).inject)


def test_the_command_line_tells_them_too(campaign, tmp_path, capsys):
    assert main(["diagnose", "inject", *words(campaign, tmp_path, "inject.signals=[H20]")]) == 2
    assert "spectramind diagnose: inject.signals[0]=H20: give H2O, CO2" in capsys.readouterr().err


def test_every_signal_is_tried_wherever_it_can_be():
    both = trials(InjectConfig(where="both"))
    assert {(one.signal, one.place) for one in both} == {(n, p) for n, s in SIGNALS.items() for p in s.places}
    assert {one.signal for one in both} == set(InjectConfig().signals) == set(SIGNALS)
    assert len(both) == len(set(both)) == 4 * 2 * 3 + 5 * 2 * 2 + 2
