"""The report's numbers against analytic cases, and the notebook figures that show them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from reportdata import FGS1_SIGMA, NAIVE, make_data, trace
from scipy.stats import norm

from kitlib.base.products import LightCurveFit
from kitlib.report import OtherRun, ReportData
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
from kitlib.report.drawing import DARK, LIGHT, axis, grid, line
from kitlib.report.figures import (
    latent_figure,
    light_curve_figure,
    power_figure,
    reliability_figure,
    residual_figure,
    score_figure,
    sigma_error_figure,
    spectrum_figure,
    two_runs_figure,
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
    np.testing.assert_array_equal(coverage(part), [0.25, 0.5, 0.75, 0.75])  # limits 0.674, 0.994, 1.645, 1.960
    assert part.summary["mean"] == pytest.approx(-1.475)
    # recovered minus true: 7 sigma too low is a truth at the upper end, 0.5 too high one at ndtr(-0.5) = 0.31
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
                            np.full(n, 2e-4), np.ones(n))  # fmt: skip
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
    np.testing.assert_allclose(trace(spectrum, "recovered").y, data.prediction.mu[0, 1:] * 1e6)
    np.testing.assert_allclose(trace(spectrum, "true").y, data.truth[0, 1:] * 1e6)
    curves = light_curve_figure(data, planet)
    axes = [name for name in curves.layout.to_plotly_json() if name.startswith("yaxis")]
    assert len(axes) == 3 * 4  # two visits, two instruments, three rows
    np.testing.assert_allclose(trace(curves, "fit", 0).y, 100 * data.panels_of(planet)[0].model)
    np.testing.assert_allclose(trace(curves, "drift alone", 3).y, 100 * data.panels_of(planet)[3].drift)
    reliability = reliability_figure(data)
    observed = part_reliability("FGS1", z_scores(data)["FGS1"]).observed
    np.testing.assert_allclose(trace(reliability, "FGS1", 0).y, 100 * observed)
    score = score_figure(data)
    np.testing.assert_allclose(trace(score, "score", 0).y, by_bin(data)["score"][1:])
    assert trace(score, "score").z.shape == (12, 282)
    power = power_figure(data)
    np.testing.assert_allclose(trace(power, "FGS1, 4 light curves").y, residual_powers(data)[0].median)
    latents = latent_figure(data)
    np.testing.assert_allclose(np.transpose([latents.data[0].x, latents.data[0].y]), latent_map(data).places)
    errors = sigma_error_figure(data)
    np.testing.assert_allclose(trace(errors, "AIRS level").x, 1e6 * level_sigma(data))
    error = 1e6 * np.abs((data.prediction.mu - data.truth)[:, 1:].mean(1))
    np.testing.assert_allclose(trace(errors, "AIRS level").y, np.maximum(error, 0.1))
    residuals = residual_figure(data, planet)
    np.testing.assert_allclose(residuals.data[0].z, data.residuals[0, 0, 2:].T)
    assert two_runs_figure(data) is None
    against = two_runs_figure(replace(data, against=OtherRun("other", data.prediction)))
    assert not np.any(trace(against, "FGS1").y)
    for figure in (spectrum, curves, reliability, score, power, latents, errors, residuals, against):
        assert not figure.layout.to_plotly_json().keys() & {"xaxis0", "yaxis0"}
        used = {f"{a}axis{name[1:]}" for one in figure.data for a in "xy" for name in [getattr(one, f"{a}axis") or a]}
        assert used <= {name for name in figure.layout.to_plotly_json() if "axis" in name}
        content = json.loads(figure.to_json())  # what a notebook keeps
        assert content["layout"]["template"]["layout"]["paper_bgcolor"] == LIGHT["panel"]


def test_the_palette_can_be_exchanged_colour_by_colour():
    assert LIGHT.keys() == DARK.keys() and len(set(LIGHT.values())) == len(LIGHT)


def test_figures_side_by_side_keep_their_axes_apart():
    left = {"data": [line([0], [0], "points", yaxis="y2")], "layout": {"xaxis": axis(anchor="y2"), "yaxis2": axis(
        domain=[0, 0.5])}}  # fmt: skip
    right = {"data": [line([1], [1], "points", name="b")], "layout": {"xaxis": axis(), "yaxis": axis("flux")}}
    both = grid([[left, right]])
    assert [(one["xaxis"], one["yaxis"]) for one in both["data"]] == [("x", "y2"), ("x3", "y3")]
    layout = both["layout"]
    assert (
        layout["xaxis"]["anchor"] == "y2" and layout["yaxis3"]["anchor"] == "x3" and layout["xaxis3"]["anchor"] == "y3"
    )
    assert layout["xaxis"]["domain"][1] < layout["xaxis3"]["domain"][0] and layout["yaxis2"]["domain"] == [0, 0.5]
    for count in range(1, 9):  # plotly refuses a domain that rounding has led beyond 1
        layout = grid([[right] * count] * count)["layout"]
        ends = [end for name, one in layout.items() if "axis" in name for end in one["domain"]]
        assert min(ends) == 0 and max(ends) == 1


def test_figures_name_what_is_missing(data):
    with pytest.raises(KeyError, match="planet 1 is not among"):
        spectrum_figure(data, 1)
    with pytest.raises(ValueError, match="no light curve of planet"):
        light_curve_figure(data, int(data.prediction.planet_id[-1]))
    for figure in (reliability_figure, score_figure, sigma_error_figure):
        with pytest.raises(ValueError, match="true spectra"):
            figure(make_data(truth=False))
    assert power_figure(replace(data, heavy=False)) is None and latent_figure(replace(data, latents=None)) is None
