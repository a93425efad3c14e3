"""The report's numbers against analytic cases, and the notebook figures that show them."""

from dataclasses import replace

import numpy as np
import pytest
from reportdata import FGS1_SIGMA, NAIVE, make_data
from scipy.stats import norm

from kitlib.base.products import LightCurveFit
from kitlib.report import ReportData
from kitlib.report.bands import pit_band, quantile_band
from kitlib.report.calibrationtable import by_bin
from kitlib.report.diagnostics import (
    PartReliability,
    event_groups,
    level_sigma,
    panel_statistics,
    part_reliability,
    planet_scores,
    told,
    worst_planets,
    z_scores,
)
from kitlib.report.figures import (
    latent_figure,
    light_curve_figure,
    power_figure,
    reliability_figure,
    score_figure,
    spectrum_figure,
)
from kitlib.report.heavy import latent_map, residual_powers
from kitlib.sigma.metric import gll_score
from kitlib.sigma.reliability import COVERAGE, pit_histogram, quantile_pairs


def coverage(part: PartReliability) -> np.ndarray:
    return np.array(list(part.summary["coverage"].values()))


@pytest.fixture(scope="module")
def data() -> ReportData:
    return make_data()


def test_level_and_shape_against_the_quadratic_form(data):
    z = z_scores(data)
    error = data.prediction.mu[0, 1:] - data.truth[0, 1:]
    ones, centre = np.full(282, 1 / 282), np.eye(282) - 1 / 282
    cov = data.posterior.cov[0].astype(float)[1:, 1:]
    np.testing.assert_allclose(level_sigma(data)[0], np.sqrt(ones @ cov @ ones), rtol=1e-5)
    np.testing.assert_allclose(z["AIRS level"][0, 0], error.mean() / np.sqrt(ones @ cov @ ones), rtol=1e-4)
    shape_sigma = np.sqrt(np.diag(centre @ cov @ centre.T))
    np.testing.assert_allclose(z["AIRS shape"][0], (error - error.mean()) / shape_sigma, rtol=1e-3)


def test_reliability_of_honest_and_of_overconfident_sigma():
    data = make_data(planets=400, detailed=0)
    honest = {name: part_reliability(name, z) for name, z in z_scores(data).items()}
    assert set(honest) == {"FGS1", "AIRS bins", "AIRS level", "AIRS shape"}
    for part in honest.values():
        assert part.summary["std"] == pytest.approx(1, abs=0.09), part.name
        assert np.all(np.abs(coverage(part) - COVERAGE) < 4 * part.coverage_error + 1e-3), part.name
        assert part.pit.sum() == pytest.approx(1)
        np.testing.assert_allclose(part.pit, 0.1, atol=0.06)
        low, high = quantile_band(part.quantiles[0], 400)
        assert np.mean((low < part.quantiles[1]) & (part.quantiles[1] < high)) > 0.8, part.name
    # sigma twice too small: |z| doubles, so a p interval holds what an interval of half its width should
    half = part_reliability("FGS1", 2 * z_scores(data)["FGS1"])
    expected = 2 * norm.cdf(norm.ppf(0.5 + np.array(COVERAGE) / 2) / 2) - 1
    np.testing.assert_allclose(coverage(half), expected, atol=0.08)
    assert half.summary["std"] == pytest.approx(2 * honest["FGS1"].summary["std"])


def test_reliability_of_four_known_scores():
    part = part_reliability("x", np.array([[0.5], [-0.9], [1.5], [-7.0]]))
    np.testing.assert_array_equal(coverage(part), [0.25, 0.5, 0.75, 0.75])  # limits .674, .994, 1.645, 1.960
    assert part.summary["mean"] == pytest.approx(-1.475)
    # recovered minus true: 7 sigma too low is a truth at the upper end, .5 too high one at ndtr(-.5) = .31
    np.testing.assert_array_equal(np.flatnonzero(part.pit), [0, 3, 8, 9])
    np.testing.assert_allclose(part.quantiles[0], norm.ppf([0.125, 0.375, 0.625, 0.875]))


def test_planet_scores_average_to_the_official_score(data):
    scores = planet_scores(data)
    official = gll_score(data.prediction.mu, data.prediction.sigma, data.truth, *NAIVE)
    np.testing.assert_allclose(scores.mean(0), [official.total, official.fgs1, official.airs], rtol=1e-12)


def test_worst_planet_is_the_spoilt_one_with_its_reasons(data):
    mu, sigma, row = data.prediction.mu.copy(), data.prediction.sigma.copy(), 5
    mu[row, 0] += 8 * FGS1_SIGMA
    sigma[row, 1:] *= 4
    diagnostics = {name: values.copy() for name, values in data.posterior.diagnostics.items()}
    diagnostics["chi2_white"][row] = 3.0
    posterior = replace(data.posterior, diagnostics=diagnostics)
    prediction = replace(data.prediction, mu=mu, sigma=sigma)
    first = worst_planets(replace(data, prediction=prediction, posterior=posterior))[0]
    assert first["row"] == row
    told = "; ".join(first["reasons"])
    for word in (
        "FGS1 part",
        "FGS1 error",
        "FGS1 off by",
        "AIRS sigma 4.0 times",
        "chi2 per sample of the white fit 3.00",
    ):
        assert word in told, told


def test_planets_of_which_nothing_stands_out_are_not_listed(data):
    even = replace(data, truth=data.prediction.mu - 1e-6, events=(), posterior=None)
    assert worst_planets(even) == []
    one = even.truth.copy()
    one[7] += 4e-4  # far off: beyond 2 sigma
    assert [planet["row"] for planet in worst_planets(replace(even, truth=one))] == [7]


def test_events_without_a_reason_tell_what_they_counted():
    assert told({"time": 1.0, "stage": "s", "event": "summary", "planets": 12, "pace_s": 0.51234567}) == (
        "planets 12, pace_s 0.512346"
    )
    assert told({"event": "x", "reason": "why", "planets": 2}) == "why" and told({"event": "x", "more": [1]}) == ""


@pytest.mark.parametrize("planets", [6, 60])
def test_bands_hold_whole_lines_of_honest_runs(planets):
    rng = np.random.default_rng(5)
    z = rng.standard_normal((4000, planets))
    gaussian, _ = quantile_pairs(z[0])
    low, high = quantile_band(gaussian, planets)
    lines = np.array([quantile_pairs(one)[1] for one in z])
    inside = ((low <= lines) & (lines <= high)).all(1).mean()
    assert 0.94 < inside < 0.97  # 95 % of 4,000: +-0.0035, and the limit itself is drawn: +-0.005
    first = ((low <= lines) & (lines <= high)).mean(0)
    assert first.min() > 0.97  # each point alone lies inside far more often
    least, most = pit_band(planets)
    bars = np.array([pit_histogram(one) for one in z])
    assert ((bars >= least - 1e-9) & (bars <= most + 1e-9)).all(1).mean() > 0.94
    assert most < 0.6


def test_without_truth_only_planets_with_a_reason_are_listed():
    data = make_data(truth=False)
    assert [planet["row"] for planet in worst_planets(data)] == [1, 2]  # fallback; missing contact
    quiet = replace(data, events=(), posterior=None)
    assert worst_planets(quiet) == []


def test_events_are_counted_by_kind_and_reason(data):
    groups = event_groups(replace(data, events=(*data.events, dict(data.events[0], planet_id="77.0"))))
    assert [group["count"] for group in groups] == [2, 1, 1]
    assert groups[0]["planets"] == [int(data.prediction.planet_id[1]), 77]
    assert groups[2]["planets"] == []


def test_panel_statistics_of_a_known_series():
    n = 4
    panel = LightCurveFit(1, 0, "FGS1", np.arange(n), np.array([1, 1, 1, np.nan]), 1 - np.array([1, -1, 2, 0]) * 1e-4,
                            np.full(n, 2e-4))  # fmt: skip
    found = panel_statistics(panel)
    assert (
        found["samples"] == 3
        and found["rms_ppm"] == pytest.approx(100 * np.sqrt(2))
        and found["sigma_ppm"] == pytest.approx(200)
    )
    assert found["chi2"] == pytest.approx(0.5) and found["autocorrelation"] == pytest.approx(-3 / 6)


def test_figures_draw_the_products(data):
    planet = int(data.prediction.planet_id[0])
    spectrum = spectrum_figure(data, planet)
    lines = spectrum.axes[1].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata(), data.prediction.mu[0, 1:] * 1e6)
    np.testing.assert_allclose(lines[1].get_ydata(), data.truth[0, 1:] * 1e6)
    curves = light_curve_figure(data, planet)
    assert len(curves.axes) == 2 * 4  # two visits, two instruments, residuals below each
    np.testing.assert_allclose(curves.axes[0].get_lines()[1].get_ydata(), 100 * data.panels_of(planet)[0].model)
    coverage = reliability_figure(data)
    observed = part_reliability("FGS1", z_scores(data)["FGS1"]).observed
    np.testing.assert_allclose(coverage.axes[0].get_lines()[1].get_ydata(), 100 * observed)
    score = score_figure(data)
    np.testing.assert_allclose(score.axes[0].get_lines()[0].get_ydata(), by_bin(data)["score"][1:])
    assert score.axes[2].get_images()[0].get_array().shape == (12, 283)
    power = power_figure(data)
    np.testing.assert_allclose(power.axes[0].get_lines()[0].get_ydata(), residual_powers(data)[0].median)
    latents = latent_figure(data)
    np.testing.assert_allclose(latents.axes[0].collections[0].get_offsets(), latent_map(data).places)
    for figure in (spectrum, curves, coverage, score, power, latents):
        png = figure._repr_png_()  # what a notebook shows
        assert png.startswith(b"\x89PNG") and len(png) > 10_000


def test_figures_name_what_is_missing(data):
    with pytest.raises(KeyError, match="planet 1 is not among"):
        spectrum_figure(data, 1)
    with pytest.raises(ValueError, match="no light curve of planet"):
        light_curve_figure(data, int(data.prediction.planet_id[-1]))
    for figure in (reliability_figure, score_figure):
        with pytest.raises(ValueError, match="true spectra"):
            figure(make_data(truth=False))
    assert power_figure(replace(data, heavy=False)) is None and latent_figure(replace(data, latents=None)) is None
