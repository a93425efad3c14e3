"""The spectral prior: learning, shapes, what it refuses, files. Its algebra: test_combination.py."""

from dataclasses import replace

import numpy as np
import pytest

from kitlib.base.config import ConfigError
from kitlib.base.instruments import N_BINS
from kitlib.base.products import Catalogue
from kitlib.base.schema import PriorConfig
from kitlib.spectra.combination import Hypothesis, Likelihood, combine
from kitlib.spectra.prior import PriorError, Shapes, learn_prior, ln_scale_height_depth
from kitlib.transit.priors import Priors, shipped_priors


def measured(precision: np.ndarray, data: np.ndarray) -> Likelihood:
    """Bins measured independently, without shared parameters."""
    nothing = Hypothesis(0.0, np.zeros(0, bool), np.zeros((0, 0)), np.zeros(0))
    return Likelihood(data, precision, np.zeros((len(data), 0)), np.zeros(len(data)), (nothing,))


def _catalogue(n: int, rng: np.random.Generator) -> Catalogue:
    one = np.ones(n)
    mass = np.exp(rng.normal(0, 0.5, n))
    return Catalogue(np.arange(n), one, one, 5840 * one, mass, 4 * one, 10.5 * one, 89 * one)


def _spectra(n: int, rng: np.random.Generator, spread: float = 0.3) -> tuple[np.ndarray, Catalogue]:
    """Two-band spectra whose amplitude follows the scale height."""
    catalogue = _catalogue(n, rng)
    level = np.exp(rng.normal(-4.4, 0.4, n))
    amplitude = np.exp(-9.8 + ln_scale_height_depth(catalogue, level) + spread * rng.normal(size=n))
    x = np.linspace(0, 1, N_BINS - 1)
    bands = np.stack([np.exp(-0.5 * ((x - c) / 0.08) ** 2) for c in (0.3, 0.7)])
    shape = rng.normal(size=(n, 2)) @ (bands - bands.mean(1, keepdims=True))
    shape /= np.sqrt((shape**2).mean(1, keepdims=True))
    depth = level[:, None] + amplitude[:, None] * shape
    return np.column_stack([level + amplitude * rng.normal(size=n), depth]), catalogue


def test_learnt_prior_describes_new_spectra_of_the_family():
    rng = np.random.default_rng(1)
    depth, catalogue = _spectra(800, rng)
    prior = learn_prior(depth, catalogue, PriorConfig())
    alpha, beta = prior.amplitude_fit
    assert beta == pytest.approx(1, abs=0.1) and alpha == pytest.approx(-9.8, abs=0.1)
    assert prior.kinds.weight @ prior.kinds.sd == pytest.approx(0.3, abs=0.08)
    new, rows = _spectra(200, rng)
    # five noisy bins: the learnt shapes must fill the other 278 much better than the level alone does
    seen = np.array([30, 80, 140, 200, 250])
    errors, flat = [], []
    for i in range(50):
        precision = np.zeros(N_BINS)
        precision[seen] = (3e-6) ** -2
        h = float(ln_scale_height_depth(rows, new[:, 1:].mean(1))[i])
        mean, _, _ = combine(measured(precision, new[i]), prior.components(h, 0.012))
        errors.append(np.sqrt(((mean - new[i])[1:] ** 2).mean()))
        flat.append(new[i, 1:].std())
    assert np.median(errors) < 0.3 * np.median(flat)


def test_a_spectrum_unlike_all_training_spectra_is_followed_by_the_open_part():
    rng = np.random.default_rng(6)
    depth, catalogue = _spectra(400, rng)
    prior = learn_prior(depth, catalogue, PriorConfig())
    components = prior.components(0.0, 0.012)
    assert sum(component.weight for component in components) == pytest.approx(1)
    bins = np.arange(N_BINS)
    strange = 0.012 + 3e-4 * np.sin(bins / 20.0)  # 300 ppm waves, measured to 50 ppm
    data = strange + 5e-5 * rng.standard_normal(N_BINS)
    likelihood = measured(np.full(N_BINS, (5e-5) ** -2), data)
    mean, cov, weights = combine(likelihood, components)
    assert weights[prior.learnt_components :].sum() > 0.99
    z = (mean - strange)[1:] / np.sqrt(np.diag(cov))[1:]
    assert np.sqrt((z**2).mean()) < 1.5
    closed, _, _ = combine(likelihood, components[: prior.learnt_components])
    assert np.std(mean - strange) < 0.7 * np.std(closed - strange)


def test_shapes_of_another_family_are_followed_where_the_prior_knows_of_it():
    """Noisy bins of a narrow-band family that the training spectra lack: only a prior that knows it fills the gaps."""
    rng = np.random.default_rng(8)
    depth, catalogue = _spectra(400, rng)
    x = np.linspace(0, 1, N_BINS - 1)
    bands = np.stack([np.exp(-0.5 * ((x - c) / 0.02) ** 2) for c in (0.12, 0.5, 0.88)])
    bands -= bands.mean(1, keepdims=True)

    def strange(count: int) -> np.ndarray:
        shape = rng.normal(size=(count, 3)) @ bands
        shape = np.column_stack([np.zeros(count), shape / np.sqrt((shape**2).mean(1, keepdims=True))])
        return shape

    many = strange(500)
    closed = learn_prior(depth, catalogue, PriorConfig())
    opened = replace(closed, unfamiliar=Shapes(many.mean(0), np.cov(many.T) + 1e-3 * np.eye(N_BINS)))
    precision = np.zeros(N_BINS)
    precision[1::6] = (2e-5) ** -2
    errors = {}
    truth = 0.012 + 2e-4 * strange(20)
    data = truth + 2e-5 * rng.standard_normal(truth.shape)
    for name, prior in (("closed", closed), ("opened", opened)):
        found = [combine(measured(precision, one), prior.components(0.0, 0.012))[0] for one in data]
        errors[name] = np.sqrt(np.mean((np.stack(found) - truth)[:, 1:] ** 2))
    assert errors["opened"] < 0.5 * errors["closed"]


def test_pooled_moments_are_those_of_the_learnt_components():
    prior = learn_prior(*_spectra(60, np.random.default_rng(5)), PriorConfig())
    learnt = prior.components(0.3, 0.012)[: prior.learnt_components]
    weight = np.array([one.weight for one in learnt]) / sum(one.weight for one in learnt)
    means = np.stack([one.mean for one in learnt])
    expected = np.cov(means.T, aweights=weight, bias=True) + np.tensordot(weight, [one.cov for one in learnt], 1)
    mean, cov = prior.pooled(0.3, 0.012)
    np.testing.assert_allclose(mean, weight @ means, rtol=1e-12)
    np.testing.assert_allclose(cov, expected, rtol=1e-9, atol=1e-18)


def test_file_round_trip_and_refusals(tmp_path):
    depth, catalogue = _spectra(40, np.random.default_rng(2))
    prior = learn_prior(depth, catalogue, PriorConfig())
    path = Priors(prior).save(tmp_path / "prior.safetensors")
    np.testing.assert_array_equal(Priors.load(path).spectrum.shape_cov, prior.shape_cov)
    np.testing.assert_array_equal(Priors.load(path).spectrum.kinds.loadings, prior.kinds.loadings)
    assert Priors.load(path).spectrum.unfamiliar is None
    other = replace(prior, unfamiliar=Shapes(prior.shape_mean + 1, 2 * prior.shape_cov))
    again = Priors.load(Priors(other).save(tmp_path / "other.safetensors")).spectrum.unfamiliar
    np.testing.assert_array_equal(again.mean, other.unfamiliar.mean)
    np.testing.assert_array_equal(again.cov, other.unfamiliar.cov)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PriorError, match=r"prior\.safetensors"):
        Priors.load(path)
    with pytest.raises(PriorError, match="9 spectra"):
        learn_prior(depth[:9], catalogue.take(slice(0, 9)), PriorConfig())
    for name in ("components", "kinds", "factors"):
        with pytest.raises(ConfigError, match=rf"prior\.{name}=0: give a whole number, 1 to 281"):
            learn_prior(depth, catalogue, PriorConfig(**{name: 0}))


def test_shipped_prior_is_a_proper_distribution():
    assert shipped_priors().spectrum.unfamiliar is not None
    components = shipped_priors().spectrum.components(0.0, 0.014)
    assert sum(component.weight for component in components) == pytest.approx(1)
    for component in components:
        assert component.mean.shape == (N_BINS,)
        np.linalg.cholesky(component.cov)
