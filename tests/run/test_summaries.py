"""Figures and tables of the notebooks: they say what the numbers that they are given say."""

import numpy as np
import polars as pl
import pytest

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS
from kitlib.base.products import LightCurve, PlanetLightCurves, Posterior, Prediction
from kitlib.report import ReportData, figures
from kitlib.run import summaries
from kitlib.sigma import Calibrator


def posterior(**diagnostics) -> Posterior:
    """Three planets of depth 1 %; the second has features of 300 ppm, the third of 30."""
    mean = np.full((3, 283), 0.01)
    mean[1, 1:] += 3e-4 * np.sin(np.arange(282) / 10)
    mean[2, 1:] += 3e-5 * np.sin(np.arange(282) / 10)
    cov = np.tile(np.eye(283) * 1e-10, (3, 1, 1))
    return Posterior(np.array([10, 20, 30]), mean, cov, {k: np.array(v, float) for k, v in diagnostics.items()})


def test_white_noise_sees_the_scatter_and_not_what_is_smooth():
    rng = np.random.default_rng(1)
    time = np.linspace(0, 7.5, 2000)
    visit = {}
    for instrument, sigma in zip(INSTRUMENTS, (50.0, 20.0), strict=True):
        course = 1e5 * (1 - 0.01 * (np.abs(time - 3) < 1) + 0.001 * time**2)
        flux = (course + rng.normal(0, sigma, time.size))[:, None]
        variance = np.full_like(flux, sigma**2)
        pairs, still = np.ones(time.size, np.int32), np.zeros((time.size, 2))
        visit[instrument.name] = LightCurve(instrument, time, flux, variance, pairs, still)
    _, *drawn = figures.noise_figure([PlanetLightCurves(1, (visit,))]).data
    for points, sigma in zip(drawn, (50.0, 20.0), strict=True):
        (expected,), (measured,) = points.x, points.y
        assert expected == pytest.approx(10 * sigma, rel=0.05)  # ppm of some 1e5 electrons
        assert measured == pytest.approx(expected, rel=0.06)


def test_raw_pair_shows_the_second_read_less_the_first(tmp_path):
    for instrument, step in ((FGS1, 5), (AIRS, 9)):
        reads = np.vstack([np.full(instrument.n_pixels, 100), np.full(instrument.n_pixels, 100 + step)] * 2)
        table = pl.DataFrame(reads.astype(np.uint16), schema=[str(i) for i in range(instrument.n_pixels)])
        table.write_parquet(tmp_path / instrument.signal_file(0))
    figure = figures.raw_pair_figure(tmp_path)
    fgs1, airs = (np.asarray(heat.z) for heat in figure.data)
    assert [note.text.split(":")[0] for note in figure.layout.annotations] == [FGS1.name, AIRS.name]
    assert (fgs1 == 5).all() and (airs == 9).all() and airs.shape == (AIRS.rows, AIRS.cols)


def test_the_most_structured_spectra_come_first():
    found = posterior()
    assert summaries.most_structured(found, 2).tolist() == [20, 30]
    prediction = Prediction(found.planet_id, found.mean, np.full((3, 283), 1e-5))
    data = ReportData("", prediction, np.linspace(1.9, 3.9, 283))
    figure = figures.spectra_figure(data, [20, 30])
    assert [note.text for note in figure.layout.annotations] == ["planet 20", "planet 30"]
    lines = [one.y for one in figure.data if one.name == "recovered" and one.mode == "lines"]
    np.testing.assert_allclose(lines, 1e6 * found.mean[1:, 1:])


def test_level_errors_are_recovered_less_true_in_ppm():
    truth = np.full((2, 283), 0.01)
    mu = truth + np.array([[3e-5], [-1e-5]])
    figure = figures.level_error_figure(mu, truth)
    assert all("rms 22 ppm, median 20" in note.text for note in figure.layout.annotations)
    points = [one.y for one in figure.data if one.mode == "markers"]
    np.testing.assert_allclose(points, [[30, -10]] * 2)


def test_tables_of_prediction_calibration_outcomes_and_events():
    prediction = Prediction(np.array([5]), np.full((1, 283), 0.01), np.full((1, 283), 2e-5))
    (row,) = summaries.prediction_rows(prediction)
    assert (row["planet"], row["FGS1, ppm"], row["median sigma of a bin"], row["features, ppm rms"]) == (
        5,
        10000,
        20,
        0,
    )
    fgs1, level, shape = summaries.calibration_rows(
        Calibrator(factor_level=1.25, relative_fgs1=0.0012, scale_shape=0.99)
    )
    assert (level["factor on sigma"], fgs1["floor, % of depth"]) == (1.25, 0.12)
    assert shape["correction of the mean, %"] == -1.0 and np.isnan(shape["floor, % of depth"])
    counted = summaries.outcome_rows(posterior(gate=[0, 1, 2], fallback=[0, 0, 0]))
    assert [row["planets"] for row in counted] == [1, 1, 1, 0]
    assert [row["planets"] for row in summaries.outcome_rows(posterior(gate=[0, 0, 2], fallback=[0, 2, 2]))] == [
        1,
        0,
        0,
        2,
    ]
    events = [{"stage": "predict", "event": "summary"}, {"stage": "predict", "event": "misfit", "planet_id": 7}]
    assert summaries.event_rows(events) == [{"planet": 7, "stage": "predict", "event": "misfit", "why": ""}]


def test_sigma_against_depth_is_in_ppm_and_percent():
    prediction = Prediction(np.array([5, 6]), np.full((2, 283), 0.02), np.full((2, 283), 4e-5))
    for points in figures.sigma_depth_figure(prediction).data:
        np.testing.assert_allclose((points.x, points.y), [[2, 2], [40, 40]])
