"""Charts and tables of the notebooks: they say what the numbers that they are given say."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS
from kitlib.base.products import LightCurve, PlanetLightCurves, Posterior, Prediction
from kitlib.run import gallery
from kitlib.sigma import Calibrator


@pytest.fixture
def axes():
    figure, axes = plt.subplots(1, 2)
    yield axes
    plt.close(figure)


def posterior(**diagnostics) -> Posterior:
    """Three planets of depth 1 %; the second has features of 300 ppm, the third of 30."""
    mean = np.full((3, 283), 0.01)
    mean[1, 1:] += 3e-4 * np.sin(np.arange(282) / 10)
    mean[2, 1:] += 3e-5 * np.sin(np.arange(282) / 10)
    cov = np.tile(np.eye(283) * 1e-10, (3, 1, 1))
    return Posterior(np.array([10, 20, 30]), mean, cov, {k: np.array(v, float) for k, v in diagnostics.items()})


def test_white_noise_sees_the_scatter_and_not_what_is_smooth(axes):
    rng = np.random.default_rng(1)
    time = np.linspace(0, 7.5, 2000)
    visit = {}
    for instrument, sigma in zip(INSTRUMENTS, (50.0, 20.0), strict=True):
        course = 1e5 * (1 - 0.01 * (np.abs(time - 3) < 1) + 0.001 * time**2)
        flux = (course + rng.normal(0, sigma, time.size))[:, None]
        variance = np.full_like(flux, sigma**2)
        pairs, still = np.ones(time.size, np.int32), np.zeros((time.size, 2))
        visit[instrument.name] = LightCurve(instrument, time, flux, variance, pairs, still)
    gallery.white_noise(axes[0], [PlanetLightCurves(1, (visit,))])
    for line, sigma in zip(axes[0].lines, (50.0, 20.0), strict=False):
        expected, measured = line.get_xdata()[0], line.get_ydata()[0]
        assert expected == pytest.approx(10 * sigma, rel=0.05)  # ppm of some 1e5 electrons
        assert measured == pytest.approx(expected, rel=0.06)


def test_raw_pair_shows_the_second_read_less_the_first(axes, tmp_path):
    for instrument, step in ((FGS1, 5), (AIRS, 9)):
        reads = np.vstack([np.full(instrument.n_pixels, 100), np.full(instrument.n_pixels, 100 + step)] * 2)
        table = pl.DataFrame(reads.astype(np.uint16), schema=[str(i) for i in range(instrument.n_pixels)])
        table.write_parquet(tmp_path / instrument.signal_file(0))
    gallery.raw_pair(axes, tmp_path)
    shown = {axis.get_title().split(":")[0]: axis.images[0].get_array() for axis in axes}
    assert (shown[FGS1.name] == 5).all() and (shown[AIRS.name] == 9).all()
    assert shown[AIRS.name].shape == (AIRS.rows, AIRS.cols)


def test_the_most_structured_spectra_come_first(axes):
    found = posterior()
    assert gallery.most_structured(found, 2).tolist() == [20, 30]
    prediction = Prediction(found.planet_id, found.mean, np.full((3, 283), 1e-5))
    gallery.spectra(axes, np.linspace(1.9, 3.9, 283), prediction, [20])
    assert axes[0].get_title() == "planet 20" and not axes[1].axison
    assert np.allclose(axes[0].lines[0].get_ydata(), 100 * found.mean[1, 1:])


def test_level_errors_are_recovered_less_true_in_ppm(axes):
    truth = np.full((2, 283), 0.01)
    mu = truth + np.array([[3e-5], [-1e-5]])
    gallery.level_errors(axes, mu, truth)
    for axis in axes:
        assert np.allclose(axis.lines[1].get_ydata(), [30, -10])
        assert "rms 22 ppm, median 20" in axis.get_title()


def test_tables_of_prediction_calibration_outcomes_and_events():
    prediction = Prediction(np.array([5]), np.full((1, 283), 0.01), np.full((1, 283), 2e-5))
    (row,) = gallery.prediction_rows(prediction)
    assert (row["planet"], row["FGS1, ppm"], row["median sigma of a bin"], row["features, ppm rms"]) == (
        5,
        10000,
        20,
        0,
    )
    fgs1, level, shape = gallery.calibration_rows(Calibrator(factor_level=1.25, relative_fgs1=0.0012, scale_shape=0.99))
    assert (level["factor on sigma"], fgs1["floor, % of depth"]) == (1.25, 0.12)
    assert shape["correction of the mean, %"] == -1.0 and np.isnan(shape["floor, % of depth"])
    counted = gallery.outcome_rows(posterior(gate=[0, 1, 2], fallback=[0, 0, 0]))
    assert [row["planets"] for row in counted] == [1, 1, 1, 0]
    assert [row["planets"] for row in gallery.outcome_rows(posterior(gate=[0, 0, 2], fallback=[0, 2, 2]))] == [
        1,
        0,
        0,
        2,
    ]
    events = [{"stage": "predict", "event": "summary"}, {"stage": "predict", "event": "misfit", "planet_id": 7}]
    assert gallery.event_rows(events) == [{"planet": 7, "stage": "predict", "event": "misfit", "why": ""}]


def test_sigma_against_depth_is_in_ppm_and_percent(axes):
    prediction = Prediction(np.array([5, 6]), np.full((2, 283), 0.02), np.full((2, 283), 4e-5))
    gallery.sigma_against_depth(axes[0], prediction)
    for line in axes[0].lines:
        assert np.allclose(line.get_xydata(), [[2, 40], [2, 40]])
