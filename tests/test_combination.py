"""Likelihoods under a mixture prior: the structured algebra against brute force."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from kitlib.combination import KERNEL_JITTER, Component, Likelihood, combine


def _likelihood(rng: np.random.Generator, size: int, shared: int, weight: float = 1.0) -> Likelihood:
    """A linear measurement of `size` depths and `shared` other parameters of very different scales."""
    design = np.concatenate([np.eye(size), rng.normal(size=(2 * shared, size))])
    nuisance = rng.normal(size=(len(design), shared)) * 10.0 ** np.arange(-shared // 2, shared - shared // 2)
    own = design[:size] * rng.uniform(0.5, 2, size)  # a channel knows its own depth only
    matrix = nuisance.T @ nuisance + np.diag(10.0 ** (2 * np.arange(-shared // 2, shared - shared // 2)))
    return Likelihood(weight, np.diag(own.T @ own), own.T @ nuisance[:size], matrix, rng.normal(size=size))


def _precision(one: Likelihood) -> np.ndarray:
    return np.diag(one.depth) - one.cross @ np.linalg.inv(one.shared) @ one.cross.T


def test_one_dimension_equals_brute_force():
    likelihood = Likelihood(1.0, np.array([4.0]), np.zeros((1, 0)), np.zeros((0, 0)), np.array([6.0]))  # 1.5 +- 0.5
    kernels = np.array([[1.0]]), np.array([[1.0]])
    prior = [(0.3, 0.0, 1.0), (0.7, 3.0, 0.2)]
    components = [
        Component(w, np.array([m]), s, kernel, np.zeros((1, 0)))
        for (w, m, s), kernel in zip(prior, kernels, strict=True)
    ]
    mean, cov, weights = combine([likelihood], components)
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
    likelihoods = [_likelihood(rng, size, shared, w) for w in (0.25, 0.75)]
    with pytest.raises(ValueError, match="one linearised model"):
        combine(likelihoods, [Component(1.0, np.zeros(size), 1.0, np.eye(size), np.zeros((size, 0)))])
    likelihoods[1] = replace(likelihoods[1], depth=likelihoods[0].depth, cross=0.1 * likelihoods[1].cross)
    kernels = [root @ root.T + np.eye(size) for root in rng.normal(size=(2, size, size))]
    components = [
        Component(w, rng.normal(size=size), s, kernels[k], rng.normal(size=(size, 2)))
        for w, s, k in ((0.2, 0.5, 0), (0.3, 2.0, 1), (0.5, 1.0, 0))
    ]
    mean, cov, weights = combine(likelihoods, components)
    parts, shares = [], []
    for one in likelihoods:
        precision, log = _precision(one), []
        for c in components:
            posterior = np.linalg.inv(np.linalg.inv(c.cov) + precision)
            centre = posterior @ (one.information + np.linalg.solve(c.cov, c.mean))
            parts.append((centre, posterior))
            evidence = 0.5 * centre @ np.linalg.solve(posterior, centre) - 0.5 * c.mean @ np.linalg.solve(c.cov, c.mean)
            log.append(
                np.log(c.weight) + evidence + 0.5 * np.linalg.slogdet(posterior)[1] - 0.5 * np.linalg.slogdet(c.cov)[1]
            )
        share = np.exp(np.array(log) - max(log))
        shares.append(one.weight * share / share.sum())
    w = np.concatenate(shares)
    expected = sum(wi * m for wi, (m, _) in zip(w, parts, strict=True))
    spread = sum(wi * (c + np.outer(m - expected, m - expected)) for wi, (m, c) in zip(w, parts, strict=True))
    np.testing.assert_allclose(mean, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(cov, spread, rtol=1e-5, atol=1e-7)  # pairs of weight 1e-7 are left out of the covariance
    np.testing.assert_allclose(weights, np.sum(shares, 0), rtol=1e-8)


def test_no_data_gives_the_prior_and_perfect_data_the_data():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    prior = Component(1.0, rng.normal(size=5), 1.0, root @ root.T + np.eye(5), np.ones((5, 1)))
    nothing = np.zeros((5, 0)), np.zeros((0, 0))
    mean, cov, _ = combine([Likelihood(1.0, np.zeros(5), *nothing, np.zeros(5))], [prior])
    np.testing.assert_allclose(mean, prior.mean)
    np.testing.assert_allclose(cov, prior.cov)
    assert KERNEL_JITTER < 1e-5
    truth = rng.normal(size=5)
    mean, _, _ = combine([Likelihood(1.0, np.full(5, 1e12), *nothing, 1e12 * truth)], [prior])
    np.testing.assert_allclose(mean, truth, atol=1e-6)
