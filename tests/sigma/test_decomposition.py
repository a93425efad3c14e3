"""The score taken apart, against cases with a known answer; and the groups, tables and spectra that the report adds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from reportdata import NAIVE, make_data, make_panel

from kitlib.base.config import compose
from kitlib.report import ReportData, calibration, calibration_text, calibrationtable, diagnostics
from kitlib.report.calibrationtable import by_range, score_parts
from kitlib.report.groups import groups
from kitlib.report.heavy import curve_power, latent_map, residual_powers
from kitlib.report.page import render
from kitlib.sigma.decomposition import bin_factors, decompose, honest_loss, weighted
from kitlib.sigma.metric import gll_per_bin, gll_score, score_per_nat


@pytest.fixture(scope="module")
def data() -> ReportData:
    return make_data(planets=40, detailed=4)


def parts(data: ReportData):
    return data.prediction.mu, data.prediction.sigma, data.truth, *NAIVE


def test_parts_add_up_to_the_official_score(data):
    found, official = decompose(*parts(data)), gll_score(*parts(data))
    total, fgs1, airs = weighted(found.accuracy - found.loss).mean(0)
    assert (total, fgs1, airs) == pytest.approx((official.total, official.fgs1, official.airs), rel=1e-12)
    assert weighted(found.loss)[:, 2].min() >= 0 and found.loss[:, 0].sum() >= 0


def test_no_other_factor_on_sigma_scores_more(data):
    mu, sigma, truth, *naive = parts(data)
    found = decompose(mu, sigma, truth, *naive)
    for other in (0.97, 1.03):
        stretched = sigma * other
        stretched[:, 0] *= found.factor[:, 0]
        stretched[:, 1:] *= found.factor[:, 1:]
        cells = gll_per_bin(mu, stretched, truth, *naive)
        assert (weighted(cells)[:, 2] < weighted(found.accuracy)[:, 2]).all()
        assert cells[:, 0].mean() < found.accuracy[:, 0].mean()


def test_a_sigma_wrong_by_a_known_factor_costs_what_the_formula_says(data):
    mu, sigma, truth, *naive = parts(data)
    right, wrong = decompose(mu, sigma, truth, *naive), decompose(mu, 2 * sigma, truth, *naive)
    np.testing.assert_allclose(wrong.factor, right.factor / 2, rtol=1e-12)
    np.testing.assert_allclose(wrong.accuracy, right.accuracy, atol=1e-9)  # the errors have not changed
    f, weight = wrong.factor[3, 1], score_per_nat(truth, *naive)[3, 1:]
    z = (truth - mu)[3, 1:] / (2 * sigma[3, 1:])
    np.testing.assert_allclose(wrong.loss[3, 1:], weight * (z**2 / 2 * (1 - f**-2) - np.log(f)), atol=1e-9)


def test_honest_errors_lose_what_luck_says():
    data = make_data(planets=300, detailed=0)
    mu, sigma, truth, *naive = parts(data)
    fgs1, airs = honest_loss(sigma, data.posterior.cov, truth, *naive)
    lost = weighted(decompose(mu, sigma, truth, *naive).loss)
    assert airs == pytest.approx(lost[:, 2].mean(), rel=0.25) and airs > 0.003
    assert 0 < fgs1 < 1e-3  # one factor for 300 planets has little to gain
    too_small = weighted(decompose(mu, sigma / 1.5, truth, *naive).loss)[:, 2].mean()
    assert too_small > 5 * airs
    assert bin_factors(mu, sigma / 1.5, truth, *naive).mean() == pytest.approx(1.5, rel=0.05)


def test_groups_are_split_by_the_fit_s_diagnostics(data):
    found = {group.name: group.members for group in groups(data)}
    assert found["all planets"].all() and found["two visits or more"].tolist() == [i % 10 == 0 for i in range(40)]
    assert found["fewer masked pixels"].sum() + found["more masked pixels"].sum() == 39  # one was not fitted
    bright = data.posterior.diagnostics["electrons"][found["brighter half"]]
    assert bright.min() > data.posterior.diagnostics["electrons"][found["fainter half"]].max()
    assert "ingress or egress missing" not in found  # of a single planet there is no spread
    diagnostics = data.posterior.diagnostics | {"missing_contact": (np.arange(40) < 5) * 1.0}
    changed = replace(data, posterior=replace(data.posterior, diagnostics=diagnostics))
    assert {group.name: group.members.sum() for group in groups(changed)}["ingress or egress missing"] == 5
    assert [group.name for group in groups(replace(data, posterior=None))] == ["all planets"]


def test_calibration_names_the_group_whose_sigma_is_too_small(data):
    sigma, cov = data.prediction.sigma.copy(), data.posterior.cov.copy()
    twice = data.posterior.diagnostics["visits"] > 1
    sigma[twice], cov[twice] = sigma[twice] / 3, cov[twice] / 9
    changed = replace(
        data, prediction=replace(data.prediction, sigma=sigma), posterior=replace(data.posterior, cov=cov)
    )
    found = calibration(changed)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    spread = {group["name"]: group["parts"]["AIRS shape"]["std"] for group in found["groups"]}
    assert spread["two visits or more"] > 2.4 and spread["one visit"] == pytest.approx(1, abs=0.15)
    first = found["groups"][0]["parts"]["FGS1"]
    assert list(first["coverage"]) == ["0.50", "0.68", "0.90", "0.95"]
    assert len(first["pit"]) == 10 and len(first["qq"]) == 40 and first["count"] == 40
    assert found["worst"][0]["planet_id"] in data.prediction.planet_id[twice]
    assert found["score"]["total"]["score"] == pytest.approx(gll_score(*parts(changed)).total, abs=1e-9)
    assert found["score"]["AIRS"]["loss"] > 2 * score_parts(data)["AIRS"]["loss"]
    text = calibration_text(found)
    assert "two visits or more" in text and f"{found['score']['total']['loss']:.4f}" in text
    rows = by_range(data)
    assert rows[0]["low_um"] == rows[0]["high_um"] and len(rows) == 9
    assert np.average([row["score"] for row in rows[1:]], weights=[36, 36, 35, 35, 35, 35, 35, 35]) == pytest.approx(
        gll_score(*parts(data)).airs, rel=1e-9
    )
    with pytest.raises(ValueError, match="true spectra"):
        calibration(replace(data, truth=None))


def test_tables_and_page_share_what_is_dear_and_changed_data_are_judged_anew(monkeypatch):
    """The full covariances are gone through once for the z-scores and once for what luck explains."""
    calls = []
    for module, name in ((diagnostics, "level_shape_z"), (calibrationtable, "honest_loss")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, name=name, real=real: calls.append(name) or real(*args))
    one = make_data(planets=12)
    before = calibration(one)
    page = render(one)
    assert sorted(calls) == ["honest_loss", "level_shape_z"]
    other = replace(one, prediction=replace(one.prediction, sigma=1.02 * one.prediction.sigma))
    assert calibration(other) != before and render(other) != page and len(calls) == 4
    assert calibration(one) == before == calibration(make_data(planets=12)) and len(calls) == 6


def test_power_is_1_for_white_residuals_and_finds_a_period():
    rng = np.random.default_rng(3)
    panel = make_panel(1, "FGS1", 0, 0.01, 512, rng)
    frequency, power = curve_power(panel)
    z = (panel.flux - panel.model) / panel.sigma
    assert power.mean() == pytest.approx(np.var(z), rel=0.02) and frequency[0] == pytest.approx(1 / 7.5, rel=1e-6)
    sigma = panel.sigma.copy()
    sigma[rng.random(512) < 0.25] = np.inf  # a quarter is missing
    assert curve_power(replace(panel, sigma=sigma))[1].mean() == pytest.approx(1, abs=0.15)
    wave = panel.flux + 3e-4 * np.sin(2 * np.pi * 4 * panel.time_h / 7.5 * 5)
    assert frequency[curve_power(replace(panel, flux=wave))[1].argmax()] == pytest.approx(20 / 7.5, rel=1e-6)


def test_kaggle_leaves_the_heavy_figures_out():
    assert compose("diagnose").report.heavy and not compose("diagnose", ["env=kaggle"]).report.heavy


def test_heavy_figures_follow_their_switch_and_their_input(data):
    assert [one.instrument for one in residual_powers(data)] == ["FGS1", "AIRS-CH0"]
    assert residual_powers(replace(data, heavy=False)) == []
    assert all(0.4 < np.median(one.median) < 1.6 and (one.low <= one.high).all() for one in residual_powers(data))
    apart = np.concatenate([np.zeros((20, 5)), np.ones((20, 5))]) + 0.01 * np.random.default_rng(0).normal(size=(40, 5))
    found = latent_map(replace(data, latents=apart))
    assert found.method == "t-SNE" and found.places.shape == (40, 2)
    centres = [found.places[part].mean(0) for part in (slice(0, 20), slice(20, 40))]
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * found.places[:20].std()
    small = make_data(planets=5, detailed=0)
    assert latent_map(small).method == "principal components"
    assert (
        latent_map(replace(small, latents=None)) is None and latent_map(replace(small, latents=np.ones((5, 3)))) is None
    )
    with pytest.raises(ValueError, match="latents of 3 planets"):
        replace(small, latents=np.ones((3, 3)))
