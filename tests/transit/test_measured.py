"""What the report shows of a fit: depths by the light curves alone, the prior's shape, errors of the orbit, drift."""

import numpy as np
import pytest
from test_physical_fit import catalogue_row, prior, spectra, visit  # noqa: F401

from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.base.products import PlanetLightCurves
from kitlib.base.schema import PhysfitConfig
from kitlib.run.fits import fit_planets
from kitlib.spectra import Hypothesis, Likelihood, combine
from kitlib.spectra.combination import Component
from kitlib.transit.fit import fit_planet
from kitlib.transit.measured import MEASURED_BINS, alone, measured_depths, nothing_shown, shown


def example(rng: np.random.Generator, unseen: int = 0) -> Likelihood:
    """A likelihood of 283 depths and two shared parameters; of the first `unseen` AIRS bins nothing is known."""
    depth = rng.uniform(1, 4, N_BINS) * 1e8
    depth[1 : 1 + unseen] = 0
    cross = rng.normal(size=(N_BINS, 2)) * np.sqrt(depth)[:, None]
    shared = cross.T @ (cross / np.maximum(depth, 1e-30)[:, None] * (depth > 0)[:, None]) + 3 * np.eye(2)
    best = Hypothesis(0.0, np.ones(2, bool), shared, rng.normal(size=2))
    worse = Hypothesis(-9.0, np.array([True, False]), shared, np.zeros(2))
    return Likelihood(np.full(N_BINS, 0.01), depth, cross, rng.normal(size=N_BINS) * 1e4, (worse, best))


def test_light_curves_alone_are_what_a_prior_of_no_content_gives():
    likelihood = example(np.random.default_rng(1))
    mean, cov = alone(likelihood)
    only = Likelihood(likelihood.centre, likelihood.depth, likelihood.cross, likelihood.information,
                      likelihood.hypotheses[1:])  # fmt: skip
    wide = Component(1.0, np.full(N_BINS, 0.01), 1.0, np.eye(N_BINS), np.zeros((N_BINS, 1)))
    posterior, posterior_cov, _ = combine(only, [wide])
    np.testing.assert_allclose(mean, posterior, atol=1e-3 * np.sqrt(np.diag(cov)).max())
    np.testing.assert_allclose(np.diag(cov), np.diag(posterior_cov), rtol=1e-3)


def test_points_are_means_of_bins_and_what_was_not_seen_is_left_out():
    likelihood = example(np.random.default_rng(2), unseen=8)
    mean, cov = alone(likelihood)
    depth, sd = measured_depths(likelihood)
    assert np.isnan(mean[1:9]).all() and np.isnan(depth[1]) and np.isnan(sd[1])
    assert (depth[0], sd[0]) == pytest.approx((mean[0], np.sqrt(cov[0, 0])))
    assert depth[2] == pytest.approx(mean[9:13].mean())  # two of its six bins were not seen
    last = slice(N_BINS - MEASURED_BINS, N_BINS)
    assert depth[-1] == pytest.approx(mean[last].mean())
    assert sd[-1] == pytest.approx(np.sqrt(cov[last, last].mean()))


def test_the_prior_s_shape_is_without_its_level():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(N_BINS, 4)) * 1e-4
    cov = root @ root.T + 1e-10 * np.eye(N_BINS) + 1e-4  # a level of 1 %
    mean = 0.01 + rng.normal(size=N_BINS) * 1e-4
    shape, sd = shown(example(rng), mean, cov)["prior_shape"]
    draws = rng.multivariate_normal(mean, cov, 4000)
    less = draws - draws[:, 1:].mean(1, keepdims=True)
    np.testing.assert_allclose(shape, mean - mean[1:].mean(), atol=1e-8)
    np.testing.assert_allclose(sd, less.std(0), rtol=0.08)
    assert {name: value.shape for name, value in nothing_shown().items()} == {
        "measured": (2, 48), "prior_shape": (2, 283)
    }  # fmt: skip


def test_measured_points_and_mid_transits_err_by_their_own_sigma(prior):  # noqa: F811
    rng = np.random.default_rng(8)
    pulls, times = [], []
    for i, depth in enumerate(spectra(5, rng)):
        row, t0 = catalogue_row(a=9 + i, b=0.1 * i, period=3.5), 3.3 + 0.2 * i
        fit = fit_planet(PlanetLightCurves(i, (visit(depth, t0, row, rng),)), row, prior, PhysfitConfig())
        true = np.concatenate([depth[:1], depth[1:].reshape(-1, MEASURED_BINS).mean(1)])
        measured, sd = fit.shown["measured"]
        pulls.append((measured - true) / sd)
        found = fit.diagnostics
        times.append((found["t0_h"] - t0) / found["t0_sd_h"])
        assert 0 < found["a_over_rs_sd"] < 0.5 and 0 < found["impact_param_sd"] < 0.5
        assert 0 < found["u1_sd"] < 0.2 and 0 < found["u2_sd"] < 0.2
        assert 1 <= found["fgs1_drift_order"] <= 5 and 1 <= found["airs_drift_order"] <= 5
        assert found["airs_second_term"] in (0, 1) and 1 <= found["kind"] <= found["kinds"]
        assert (measured[1:] - fit.mean[1:].mean()).std() > 0
    assert 0.4 < np.sqrt(np.mean(np.square(pulls))) < 1.6 and np.abs(pulls).max() < 6
    assert 0.2 < np.sqrt(np.mean(np.square(times))) < 2


def test_a_missing_instrument_has_no_drift_and_a_planet_without_a_fit_shows_nothing(prior):  # noqa: F811
    rng = np.random.default_rng(4)
    row, depth = catalogue_row(), spectra(1, rng)[0]
    alone_airs = PlanetLightCurves(1, ({AIRS.name: visit(depth, 3.5, row, rng)[AIRS.name]},))
    rows = row.take(np.zeros(2, int))
    posterior, curves = fit_planets([alone_airs, PlanetLightCurves(2, ())], rows, prior, PhysfitConfig(), None, False)
    assert posterior.diagnostics["fgs1_drift_order"][0] == 0 and posterior.diagnostics["airs_drift_order"][0] >= 1
    measured = posterior.inputs["measured"]
    assert np.isnan(measured[0, :, 0]).all() and np.isfinite(measured[0, :, 1:]).all() and np.isnan(measured[1]).all()
    assert np.isnan(posterior.inputs["prior_shape"][1]).all() and np.isnan(posterior.diagnostics["t0_sd_h"][1])
    assert [curve.instrument for curve in curves] == [AIRS.name] and FGS1.name not in curves[0].instrument
    transit = curves[0].model / curves[0].drift
    assert transit.max() == pytest.approx(1, abs=1e-9) and transit.min() < 1 - 0.5 * posterior.mean[0, 1:].mean()
