"""Likelihoods under a mixture prior: the structured algebra against brute force."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from kitlib.spectra.combination import KERNEL_JITTER, Component, Hypothesis, Likelihood, combine


def _likelihood(rng: np.random.Generator, size: int, shared: int, log_weights: tuple[float, ...]) -> Likelihood:
    """A linear measurement of `size` depths and `shared` other parameters of very different scales.

    The first hypothesis leaves all of these free, the others hold some of them.
    """
    scale = 10.0 ** (np.arange(shared) - shared // 2)
    nuisance = rng.normal(size=(3 * size, shared)) * scale
    own = rng.uniform(0.5, 2, size)  # a channel knows its own depth only
    hypotheses = []
    for i, weight in enumerate(log_weights):
        matrix = nuisance.T @ nuisance + np.diag(rng.uniform(0.5, 2, shared) * scale**2)
        free = np.ones(shared, bool) if i == 0 else np.arange(shared) % 3 != i - 1
        hypotheses.append(Hypothesis(weight, free, matrix, rng.normal(size=shared) / scale))
    cross = own[:, None] * nuisance[:size]
    return Likelihood(rng.normal(size=size), own**2, cross, rng.normal(size=size), tuple(hypotheses))


def _precise(data: np.ndarray, precision: float) -> Likelihood:
    """Depths measured one by one, without shared parameters."""
    nothing = Hypothesis(0.0, np.zeros(0, bool), np.zeros((0, 0)), np.zeros(0))
    size = len(data)
    return Likelihood(data, np.full(size, precision), np.zeros((size, 0)), np.zeros(size), (nothing,))


def test_marginals_equal_integrals_over_the_joint_gaussian():
    rng = np.random.default_rng(3)
    likelihood = _likelihood(rng, 4, 5, (0.0, 0.0))
    for one in likelihood.hypotheses:
        f, cross = one.free, likelihood.cross[:, one.free]
        joint = np.block([[np.diag(likelihood.depth), cross], [cross.T, one.shared[f][:, f]]])
        # at the depths `centre` the free parameters' best values are those of the hypothesis, the others are held
        slope = likelihood.information - likelihood.cross[:, ~f] @ one.best[~f]
        towards = np.concatenate([slope, one.shared[f][:, f] @ one.best[f]])
        cov = np.linalg.inv(joint)
        precision, information = likelihood.marginal(one)
        np.testing.assert_allclose(np.linalg.inv(precision), cov[:4, :4], rtol=1e-6)
        found = np.linalg.solve(precision, information)
        np.testing.assert_allclose(found, (cov @ towards)[:4], rtol=1e-6)


def test_one_dimension_equals_brute_force():
    likelihood = _precise(np.array([1.5]), 4.0)  # 1.5 +- 0.5
    kernels = np.array([[1.0]]), np.array([[1.0]])
    prior = [(0.3, 0.0, 1.0), (0.7, 3.0, 0.2)]
    components = [
        Component(w, np.array([m]), s, kernel, np.zeros((1, 0)))
        for (w, m, s), kernel in zip(prior, kernels, strict=True)
    ]
    mean, cov, weights = combine(likelihood, components)
    x = np.linspace(-8, 8, 200_001)
    density = np.exp(-2 * x**2 + 6 * x) * sum(w * multivariate_normal(m, s**2).pdf(x) for w, m, s in prior)
    density /= density.sum()
    expected = (density * x).sum()
    assert mean[0] == pytest.approx(expected, abs=1e-5)
    assert cov[0, 0] == pytest.approx((density * (x - expected) ** 2).sum(), abs=1e-5)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("shared", [0, 1, 4])
def test_mixtures_equal_dense_linear_algebra(shared):
    rng = np.random.default_rng(shared)
    size = 7
    likelihood = _likelihood(rng, size, shared, (-1.0, 0.5, 0.0))
    kernels = [root @ root.T + np.eye(size) for root in rng.normal(size=(2, size, size))]
    components = [
        Component(w, rng.normal(size=size), s, kernels[k], rng.normal(size=(size, 2)))
        for w, s, k in ((0.2, 0.5, 0), (0.3, 2.0, 1), (0.5, 1.0, 0))
    ]
    mean, cov, weights = combine(likelihood, components)
    parts, log = [], []
    for one in likelihood.hypotheses:
        precision, information = likelihood.marginal(one)
        for c in components:
            offset = c.mean - likelihood.centre
            posterior = np.linalg.inv(np.linalg.inv(c.cov) + precision)
            found = posterior @ (information + np.linalg.solve(c.cov, offset))
            parts.append((likelihood.centre + found, posterior))
            evidence = found @ np.linalg.solve(posterior, found) - offset @ np.linalg.solve(c.cov, offset)
            evidence += np.linalg.slogdet(posterior)[1] - np.linalg.slogdet(c.cov)[1]
            log.append(one.log_weight + np.log(c.weight) + evidence / 2)
    w = np.exp(np.array(log) - max(log))
    w /= w.sum()
    expected = sum(wi * m for wi, (m, _) in zip(w, parts, strict=True))
    spread = sum(wi * (c + np.outer(m - expected, m - expected)) for wi, (m, c) in zip(w, parts, strict=True))
    np.testing.assert_allclose(mean, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(cov, spread, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weights, w.reshape(3, 3).sum(0), rtol=1e-8)


def test_no_data_gives_the_prior_and_perfect_data_the_data():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    prior = Component(1.0, rng.normal(size=5), 1.0, root @ root.T + np.eye(5), np.ones((5, 1)))
    mean, cov, _ = combine(_precise(np.zeros(5), 0.0), [prior])
    np.testing.assert_allclose(mean, prior.mean)
    np.testing.assert_allclose(cov, prior.cov)
    assert KERNEL_JITTER < 1e-5
    truth = rng.normal(size=5)
    mean, _, _ = combine(_precise(truth, 1e12), [prior])
    np.testing.assert_allclose(mean, truth, atol=1e-6)


@pytest.mark.parametrize("wrong", [100.0, np.nan])
def test_a_likelihood_that_knows_more_than_everything_is_refused(wrong):
    """Shared parameters that explain more of the depths than there is: the fit falls back, it does not answer."""
    rng = np.random.default_rng(1)
    likelihood = _likelihood(rng, 5, 2, (0.0, 0.0))
    component = Component(1.0, np.zeros(5), 1.0, np.eye(5), np.ones((5, 1)))
    combine(likelihood, [component])
    with pytest.raises(np.linalg.LinAlgError):
        combine(replace(likelihood, cross=likelihood.cross * wrong), [component])
