"""Features: phases line up, sums are those of the samples, what is missing says so, files come back, shards go on."""

import numpy as np
import pytest
import torch

from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.base.products import Catalogue, Posterior
from kitlib.fusion.features import (
    AIRS_PHASES,
    FGS1_PHASES,
    GROUP,
    PHASE_LIMIT,
    FeatureError,
    features_of,
    fit_inputs,
    joined,
    make_shards,
    no_inputs,
    read_set,
    read_shards,
    shape_variance,
    write_set,
)
from kitlib.transit.priors import shipped_priors
from kitlib.transit.series import FittedSeries

DEPTH = np.full(N_BINS, 0.01)
PRIOR = (np.full(N_BINS, 0.014), np.full(N_BINS, 0.01))


def toy_catalogue(planets, rng):
    return Catalogue(np.arange(planets) + 1000, *(rng.uniform(1, 2, planets) for _ in range(7)))


def toy_covariance():
    """Errors as large as a real fit's: level 30 ppm, shape 20 ppm and smooth, FGS1 40 ppm and correlated with AIRS."""
    bins = np.arange(N_BINS)
    cov = 9e-10 + 4e-10 * np.exp(-np.abs(bins[:, None] - bins) / 20)
    cov[0, 0] += 3e-10
    return cov


def toy_posterior(planets, rng, fallback=0.0):
    mean, cov = shipped_priors().spectrum.population()[0], toy_covariance()
    scale = np.linspace(0.5, 1.5, planets)[:, None, None]
    diagnostics = {"fallback": np.full(planets, fallback), "chi2_white": rng.uniform(0.8, 1.2, planets)}
    means = mean + 1e-3 * rng.standard_normal((planets, 1))
    return Posterior(np.arange(planets) + 1000, means, (scale * cov).astype(np.float32), diagnostics)


def toy_features(planets=6, seed=0):
    """Posterior, features and true spectra drawn from that posterior, (P, 283)."""
    rng = np.random.default_rng(seed)
    posterior = toy_posterior(planets, rng)
    inputs = {name: np.stack([value] * planets) for name, value in no_inputs().items()}
    for name in ("fgs1", "airs", "nodes"):
        inputs[name] = rng.standard_normal(inputs[name].shape).astype(inputs[name].dtype)
    inputs["present"][:, 0] = 1
    inputs["present"][::3, 1] = 1
    features = features_of(posterior, toy_catalogue(planets, rng), inputs)
    root = np.linalg.cholesky(toy_covariance())
    scale = np.sqrt(posterior.cov[:, 0, :1] / toy_covariance()[0, 0])
    errors = scale * (rng.standard_normal((planets, N_BINS)) @ root.T)
    return posterior, features, torch.from_numpy(posterior.mean + errors)


def box(instrument, t0, duration, time, noise=0.0, seed=0, visit=0):
    """A fitted series whose transit is a box of depth 1 %, and data that are model plus noise."""
    width = instrument.n_bins
    inside = np.abs(time - t0) < duration / 2
    transit = np.where(inside, 0.99, 1.0)[:, None] * np.ones(width)
    gain = (1.02 + 1e-3 * time)[:, None] * np.ones(width)
    flux = gain * transit + noise * np.random.default_rng(seed).standard_normal(transit.shape)
    weight = np.full(flux.shape, 1e8)
    ones = np.ones(width)
    return FittedSeries(instrument.name, visit, time, flux, weight, gain, transit, t0, 1e5 * ones, 0.2 * ones, ones)


def inputs_of(*series, duration=4.0):
    return fit_inputs(series, duration, DEPTH, *PRIOR)


def test_contacts_of_any_transit_fall_on_the_same_phases():
    time = np.linspace(0, 7.5, 1500)
    phase = (np.arange(FGS1_PHASES) + 0.5) / FGS1_PHASES * 2 * PHASE_LIMIT - PHASE_LIMIT
    for t0, duration in ((3.0, 3.0), (4.4, 4.0), (3.7, 5.5)):
        raw, detrended, residual, information = inputs_of(box(FGS1, t0, duration, time), duration=duration)["fgs1"][0]
        seen = information > 0
        deep = detrended < -0.5
        clear = np.abs(np.abs(phase) - 0.5) > 0.03
        assert np.array_equal(deep[seen & clear], (np.abs(phase) < 0.5)[seen & clear])
        np.testing.assert_allclose(detrended[seen & clear & deep], -1, atol=1e-5)
        np.testing.assert_allclose(detrended[seen & clear & ~deep], 0, atol=1e-5)
        assert np.ptp(raw[seen & ~deep]) > 0.1  # the raw curve keeps its drift
        assert np.abs(residual).max() < 1e-5


def test_map_is_the_weighted_sum_of_its_samples():
    time = np.linspace(0, 7.5, 400)
    one = box(AIRS, 3.75, 4.0, time, noise=1e-4)
    residual, information = inputs_of(one)["airs"][0].astype(float)
    step = 2 * PHASE_LIMIT * 4.0 / AIRS_PHASES
    start = 3.75 - PHASE_LIMIT * 4.0
    own = np.flatnonzero((time >= start + 30 * step) & (time < start + 31 * step))
    cells = (one.flux - one.gain * one.transit)[own, 2 * GROUP : 3 * GROUP]
    expected = cells.sum() * 1e4 / np.sqrt(cells.size)
    assert residual[30, 2] == pytest.approx(expected, rel=2e-3)
    assert information[30, 2] == pytest.approx(np.log1p(0.01 * 1e4 * np.sqrt(cells.size)), rel=2e-3)


def test_white_noise_gives_a_map_of_unit_variance():
    residual = inputs_of(box(AIRS, 3.75, 4.0, np.linspace(0, 7.5, 400), noise=1e-4))["airs"][0, 0].astype(float)
    assert residual[5:55].std() == pytest.approx(1.0, abs=0.06)


def test_missing_egress_is_zero_without_information():
    time = np.linspace(0, 4.0, 400)  # transit from 2 to 6 h
    inputs = inputs_of(box(FGS1, 4.0, 4.0, time), box(AIRS, 4.0, 4.0, time))
    assert (inputs["fgs1"][0, :, FGS1_PHASES // 2 + 1 :] == 0).all()
    assert (inputs["airs"][0, :, AIRS_PHASES // 2 + 1 :] == 0).all()
    assert (inputs["fgs1"][0, 3, FGS1_PHASES // 4 : FGS1_PHASES // 2] > 0).all()


def test_absent_samples_visits_and_instruments():
    time = np.linspace(0, 7.5, 300)
    second = box(FGS1, 3.5, 4.0, time, visit=1)
    second.weight[100:150] = 0
    second.flux[100:150] = 77.0  # never looked at
    inputs = inputs_of(second)
    assert inputs["present"].tolist() == [[0, 0], [1, 0]]
    assert np.isfinite(inputs["fgs1"]).all() and np.abs(inputs["fgs1"]).max() < 10
    assert np.isnan(inputs["nodes"]).all()
    third = box(FGS1, 3.5, 4.0, time, visit=2)
    assert inputs_of(third)["present"].sum() == 0
    blind = box(AIRS, 3.5, 4.0, time)
    blind.weight[:] = 0
    assert inputs_of(blind)["present"].sum() == 0


def test_every_planet_has_the_same_shapes_whatever_it_lacks():
    time = np.linspace(0, 7.5, 300)
    full = inputs_of(box(FGS1, 3.5, 4.0, time), box(AIRS, 3.5, 4.0, time), duration=np.nan)
    for name, value in no_inputs().items():
        assert full[name].shape == value.shape and full[name].dtype == value.dtype


def test_moments_are_those_of_the_covariance():
    posterior, features, _ = toy_features()
    shape_var = shape_variance(features.variance, features.level_variance, features.cross)
    average = np.concatenate([[0], np.full(N_BINS - 1, 1 / (N_BINS - 1))])
    for i in range(3):
        cov = posterior.cov[i].astype(np.float64)
        centre = (np.eye(N_BINS) - average)[1:]
        np.testing.assert_allclose(features.level_variance[i], average @ cov @ average, rtol=1e-6)
        np.testing.assert_allclose(features.cross[i], cov @ average, rtol=1e-5)
        shape = np.diag(centre @ cov @ centre.T)
        np.testing.assert_allclose(shape_var[i], shape, atol=1e-5 * cov[5, 5])


def test_population_planets_are_not_fitted_and_absent_diagnostics_are_nan():
    rng = np.random.default_rng(0)
    inputs = {name: np.stack([value] * 3) for name, value in no_inputs().items()}
    features = features_of(toy_posterior(3, rng, fallback=2.0), toy_catalogue(3, rng), inputs)
    assert not features.fitted.any() and not features.present.any()
    assert features.meta.isnan().any() and not features.meta.isinf().any()


def test_rows_that_do_not_match_are_refused():
    rng = np.random.default_rng(0)
    posterior, catalogue = toy_posterior(3, rng), toy_catalogue(3, rng)
    inputs = {name: np.stack([value] * 3) for name, value in no_inputs().items()}
    with pytest.raises(FeatureError, match="order"):
        features_of(posterior, catalogue.take(np.array([1, 0, 2])), inputs)
    with pytest.raises(FeatureError, match="shapes"):
        features_of(posterior, catalogue, {name: value[:2] for name, value in inputs.items()})
    with pytest.raises(FeatureError, match="shapes"):
        features_of(posterior, catalogue, {})


def same(a, b):
    return all(torch.equal(x.nan_to_num(-9), b.tensors()[n].nan_to_num(-9)) for n, x in a.tensors().items())


def test_files_take_and_join_are_inverse(tmp_path):
    _, features, truth = toy_features()
    path = write_set(tmp_path / "set.safetensors", features, truth)
    again, spectra = read_set(path)
    assert same(features, again) and torch.equal(truth, spectra)
    assert same(features, joined([features.take(np.arange(2)), features.take(np.arange(2, 6))]))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FeatureError, match="set.safetensors"):
        read_set(path)
    with pytest.raises(FeatureError, match="truth"):
        write_set(path, features, truth[:2])


def test_shards_go_on_after_a_kill_and_refuse_another_recipe(tmp_path):
    made = []

    def make(k):
        if k == 2 and len(made) == 2:
            raise KeyboardInterrupt
        made.append(k)
        _, features, truth = toy_features(3, seed=k)
        return features, truth

    with pytest.raises(KeyboardInterrupt):
        make_shards(tmp_path, 4, {"seed": 1}, make, progress=False)
    made.append("restart")
    paths = make_shards(tmp_path, 4, {"seed": 1}, make, progress=False)
    assert made == [0, 1, "restart", 2, 3]
    features, truth = read_shards(paths)
    assert len(features) == 12 and truth.shape == (12, N_BINS)
    assert same(features.take(np.arange(6, 9)), toy_features(3, seed=2)[1])
    with pytest.raises(FeatureError, match="another recipe"):
        make_shards(tmp_path, 4, {"seed": 2}, make, progress=False)
