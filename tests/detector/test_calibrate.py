"""Calibration steps against numbers worked out by hand, and the fused kernel against the float64 steps."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import small_visit as sv

from kitlib.base.instruments import AIRS, FGS1
from kitlib.detector.axes import Axis
from kitlib.detector.calibrate import (
    STEPS,
    accumulate_pixel,
    adc_to_electrons,
    calibrate_cds,
    calibration_maps,
    cds,
    divide_flat,
    image_statistics,
    kernel_parameters,
    linearise,
    pixel_cds,
    subtract_dark,
)
from kitlib.detector.frames import Signal, read_calibration
from kitlib.detector.tables import Adc

ADC = Adc()
AXES = {"FGS1": Axis(np.zeros(1), 0.1, 0.2), "AIRS-CH0": Axis(np.zeros(1), 0.1, 4.6)}


def maps_of(tmp_path, instrument, seed=3):
    frames = sv.calibration(instrument.name, np.random.default_rng(seed))
    sv.write_calibration(tmp_path / f"{instrument.name}_calibration_0", frames)
    return calibration_maps(read_calibration(tmp_path, instrument, 0), instrument, 5.0), frames


def test_adc_by_hand():
    # 1000 ADU / 0.4369 - 1000 = 1288.8533...
    assert adc_to_electrons(np.array([1000]), ADC)[0] == pytest.approx(1000 / 0.4369 - 1000, rel=1e-15)


def test_linearity_by_hand():
    # 1 + 2 e + 3 e^2 + 4 e^3 + 5 e^4 + 6 e^5 at e = 2: 1 + 4 + 12 + 32 + 80 + 192
    coefficients = np.arange(1.0, 7)[:, None, None]
    assert linearise(np.array([[2.0]]), coefficients)[0, 0] == 321


def test_dark_cds_and_flat_by_hand():
    electrons = np.array([[[10.0]], [[110.0]]])
    after = subtract_dark(electrons, np.array([[2.0]]), (0.1, 4.6))
    assert after.ravel().tolist() == pytest.approx([9.8, 100.8])
    assert divide_flat(cds(after), np.array([[0.5]]))[0, 0] == pytest.approx(182.0)
    assert electrons.ravel().tolist() == [10.0, 110.0]  # inputs stay


def test_reference_is_the_listed_order(tmp_path):
    assert STEPS == ("adc_to_electrons", "linearise", "subtract_dark", "cds", "divide_flat")
    maps, frames = maps_of(tmp_path, FGS1)
    adu = np.random.default_rng(0).integers(430, 26_000, (3, 2, 32, 32)).astype(np.uint16)
    powers = np.stack([(adu / 0.4369 - 1000) ** k for k in range(6)])
    electrons = np.einsum("kpqij,kij->pqij", powers, maps.linear_corr)
    expected = (electrons[:, 1] - electrons[:, 0] - maps.dark_e_per_s * 0.1) / maps.flat
    np.testing.assert_allclose(calibrate_cds(adu, maps, AXES["FGS1"], ADC), expected, rtol=1e-10, atol=1e-6)


def test_masks(tmp_path):
    maps, frames = maps_of(tmp_path, FGS1)
    assert np.array_equal(maps.dead, frames["dead"])
    assert maps.hot[3, 5] and maps.hot.sum() <= 2  # the planted one
    assert not (maps.hot & maps.dead).any()


@pytest.mark.parametrize("instrument", [FGS1, AIRS], ids=lambda i: i.name)
def test_kernel_equals_the_float64_reference_within_1_ppm_of_the_light_curve(tmp_path, instrument):
    maps, _ = maps_of(tmp_path, instrument)
    axis = AXES[instrument.name]
    rng = np.random.default_rng(5)
    n = 60
    star = np.clip(sv.image(instrument.name), 0, 140_000)
    last = rng.poisson(star, (n, *star.shape)) + 13 * rng.standard_normal((n, *star.shape))
    first = last / 45 + 13 * rng.standard_normal(last.shape)
    adu = np.clip((np.stack([first, last], 1) + 1000) * 0.4369, 0, 65535).astype(np.uint16)
    reference = calibrate_cds(adu, maps, axis, ADC)
    signal = sv.signal_of(instrument, adu.reshape(2 * n, -1))
    parameters = kernel_parameters(maps, axis, ADC)
    weights = (star / (star + 338)).astype(np.float32)
    axis_sum = 0 if instrument is AIRS else (0, 1)
    curve = np.sum(weights.astype(np.float64) * reference, axis=tuple(a + 1 for a in np.atleast_1d(axis_sum)))
    curve = np.atleast_2d(curve.T)
    fused = np.zeros(curve.shape)
    buffer, events = np.empty(n, np.float32), (np.empty(8, np.int32), np.empty(8, np.float32))
    for pixel, raw in zip(signal.pixels, signal.columns, strict=True):
        series = fused[pixel % instrument.cols if instrument is AIRS else 0]
        accumulate_pixel(
            raw, parameters[pixel], np.float32(np.inf), weights.ravel()[pixel], np.zeros(3, np.float32),
            buffer, series, np.zeros((3, n), np.float32), *events,
        )  # fmt: skip
        if pixel % 997 == 0:
            pixel_cds(raw, parameters[pixel], buffer)
            np.testing.assert_allclose(buffer, reference.reshape(n, -1)[:, pixel], rtol=3e-7, atol=2e-3)
    lit = curve.mean(axis=1) > 4000
    assert lit.sum() >= (1 if instrument is FGS1 else 282)
    assert np.max(np.abs(fused[lit] / curve[lit] - 1)) < 1e-6


@pytest.mark.parametrize("instrument", [FGS1, AIRS], ids=lambda i: i.name)
def test_kernel_equals_the_reference_on_real_frames(real_dir, instrument):
    folder = real_dir / "competition" / "train" / "342072318"
    maps = calibration_maps(read_calibration(folder, instrument, 0), instrument, 5.0)
    frames = pl.read_parquet(folder / instrument.signal_file(0)).to_numpy().reshape(-1, instrument.n_pixels)
    axis = AXES[instrument.name]
    reference = calibrate_cds(frames.reshape(-1, 2, instrument.rows, instrument.cols), maps, axis, ADC)
    signal = sv.signal_of(instrument, frames)
    parameters = kernel_parameters(maps, axis, ADC)
    out = np.empty((instrument.n_pixels, signal.n_pairs), np.float32)
    for pixel, raw in zip(signal.pixels, signal.columns, strict=True):
        pixel_cds(raw, parameters[pixel], out[pixel])
    summed = out.astype(np.float64).reshape(instrument.rows, instrument.cols, -1).sum(axis=0)
    expected = reference.sum(axis=1).T
    if instrument is FGS1:
        summed, expected = summed.sum(axis=0), expected.sum(axis=0)
    else:
        summed, expected = summed[39:321], expected[39:321]
    assert np.max(np.abs(summed / expected - 1)) < 1e-6


def spiky(values):
    """A pixel whose calibrated series is `values` exactly: no dark, no flat, linear."""
    raw = np.zeros(2 * len(values), np.uint16)
    raw[1::2] = values
    parameters = np.zeros(10, np.float32)
    parameters[[0, 8]] = 1
    return raw, parameters


def run_kernel(values, threshold):
    raw, parameters = spiky(values)
    n = len(values)
    flux, sums = np.zeros(n), np.zeros((3, n), np.float32)
    pairs, excess = np.zeros(8, np.int32), np.zeros(8, np.float32)
    found = accumulate_pixel(
        raw, parameters, np.float32(threshold), np.float32(1), np.array([2, -1, 1], np.float32),
        np.empty(n, np.float32), flux, sums, pairs, excess,
    )  # fmt: skip
    return found, flux, sums, pairs, excess


@pytest.mark.parametrize("position", [0, 1, 511, 512, 513, 998, 999])
def test_a_cosmic_ray_is_replaced_wherever_it_hits(position):
    values = (1000 + 10 * np.random.default_rng(0).standard_normal(1000)).astype(int)
    clean = values.copy()
    values[position] += 5000
    found, flux, sums, pairs, excess = run_kernel(values, 120)
    assert found == 1 and pairs[0] == position and excess[0] == pytest.approx(5000, abs=60)
    assert abs(flux[position] - 1000) < 40
    others = np.arange(1000) != position
    assert np.array_equal(flux[others], clean[others].astype(np.float32))
    np.testing.assert_allclose(sums, np.outer([2, -1, 1], flux))


def test_steps_and_slopes_are_not_cosmic_rays():
    transit = np.concatenate([np.full(300, 5000), np.linspace(5000, 4000, 10), np.full(300, 4000), np.full(50, 5000)])
    found, flux, *_ = run_kernel(transit.astype(int), 120)
    assert found == 0 and np.array_equal(flux, transit.astype(int).astype(np.float32))


def test_image_statistics_ignore_hits_and_transits():
    rng = np.random.default_rng(2)
    n = 2000
    values = 5000 - 400 * (np.arange(n) > n / 2) + 70 * rng.standard_normal(n)
    values[rng.integers(0, n, 20)] += 20_000
    raw, parameters = spiky(values.astype(int))
    frames = np.tile(raw[:, None], (1, 2))
    signal = Signal(FGS1, np.array([4, 9]), list(np.ascontiguousarray(frames.T)))
    table = np.tile(parameters, (1024, 1))
    mean, noise, saturated = image_statistics(signal, table, 512)
    assert mean[0, 4] == pytest.approx(4800, abs=10) and noise[0, 9] == pytest.approx(70, rel=0.1)
    assert np.isnan(mean[0, 5]) and saturated[0, 4] == 0


def test_kernel_compiles_where_nothing_can_be_written(tmp_path):
    """numba finds no folder for its cache: the module still imports and calibrates."""
    code = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from kitlib.detector.calibrate import pixel_cds\n"
        "p = np.zeros(10, np.float32); p[0] = p[8] = 1\n"
        "out = np.empty(1, np.float32); pixel_cds(np.array([3, 10], np.uint16), p, out)\n"
        "assert out[0] == 7\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
