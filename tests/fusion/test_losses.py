"""The training loss: equal to the official metric, to scipy, to its analytic gradients."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from spectra import NAIVE, WL

from kitlib.base.instruments import FGS1_WEIGHT, N_BINS
from kitlib.fusion.losses import Loss, gll_per_bin, gll_score
from kitlib.rules.constraints import parse
from kitlib.sigma import metric


def _batch(planets=5, seed=0):
    generator = np.random.default_rng(seed)
    truth = (
        0.0146 + 0.005 * generator.standard_normal((planets, 1)) + 1e-4 * generator.standard_normal((planets, N_BINS))
    )
    sigma = 5e-5 * np.exp(0.5 * generator.standard_normal((planets, N_BINS)))
    return [torch.from_numpy(v) for v in (truth + sigma * generator.standard_normal(truth.shape), sigma, truth)]


def test_score_is_the_metric_s():
    mu, sigma, truth = _batch()
    official = metric.gll_score(*(v.numpy() for v in (mu, sigma, truth)), *NAIVE)
    assert 0 < official.total < 1  # so that the official clip does not hide anything
    assert gll_score(mu, sigma, truth, *NAIVE).mean().item() == pytest.approx(official.total, abs=1e-12)
    per_bin = metric.gll_per_bin(*(v.numpy() for v in (mu, sigma, truth)), *NAIVE)
    np.testing.assert_allclose(gll_per_bin(mu, sigma, truth, *NAIVE), per_bin, rtol=1e-12, atol=1e-12)


def test_score_is_scipy_s():
    mu, sigma, truth = _batch(seed=1)
    m, s, y = (v.numpy() for v in (mu, sigma, truth))
    best = np.where(np.arange(N_BINS) == 0, 1e-6, 1e-5)
    naive = norm.logpdf(y, *NAIVE)
    s_bin = (norm.logpdf(y, m, s) - naive) / (norm.logpdf(y, y, best) - naive)
    expected = (FGS1_WEIGHT * s_bin[:, 0] + s_bin[:, 1:].sum(1)) / (FGS1_WEIGHT + 282)
    np.testing.assert_allclose(gll_score(mu, sigma, truth, *NAIVE), expected, rtol=1e-12)


def test_one_planet_by_hand():
    """The truth with the ideal sigma scores 1, the population's mean and spread 0, ideal FGS1 alone its weight."""
    _, _, truth = _batch(1)
    ideal = torch.full_like(truth, 1e-5)
    ideal[:, 0] = 1e-6
    naive = [torch.full_like(truth, value) for value in NAIVE]
    assert gll_score(truth, ideal, truth, *NAIVE).item() == pytest.approx(1, abs=1e-12)
    assert gll_score(*naive, truth, *NAIVE).item() == pytest.approx(0, abs=1e-12)
    mu, sigma = naive[0].clone(), naive[1].clone()
    mu[:, 0], sigma[:, 0] = truth[:, 0], 1e-6
    assert gll_score(mu, sigma, truth, *NAIVE).item() == pytest.approx(57.846 / (57.846 + 282), abs=1e-12)


def test_gradients_are_the_analytic_ones():
    """d s / d mu = (y - mu) / sigma^2 / span and d s / d sigma = ((y - mu)^2 / sigma^2 - 1) / sigma / span."""
    mu, sigma, truth = _batch(2)
    mu.requires_grad_(), sigma.requires_grad_()
    by_mu, by_sigma = torch.autograd.grad(gll_per_bin(mu, sigma, truth, *NAIVE).sum(), [mu, sigma])
    m, s, y = (v.detach().numpy() for v in (mu, sigma, truth))
    best = np.where(np.arange(N_BINS) == 0, 1e-6, 1e-5)
    span = norm.logpdf(y, y, best) - norm.logpdf(y, *NAIVE)
    np.testing.assert_allclose(by_mu, (y - m) / s**2 / span, rtol=1e-10)
    np.testing.assert_allclose(by_sigma, ((y - m) ** 2 / s**2 - 1) / s / span, rtol=1e-9, atol=1e-9)


def test_float32_input_costs_nothing():
    mu, sigma, truth = (v.float() for v in _batch())
    exact = gll_score(mu.double(), sigma.double(), truth.double(), *NAIVE)
    torch.testing.assert_close(gll_score(mu, sigma, truth, *NAIVE), exact, rtol=1e-14, atol=0)
    mu.requires_grad_()
    gll_score(mu, sigma, truth, *NAIVE).sum().backward()
    assert mu.grad.dtype == torch.float32 and torch.isfinite(mu.grad).all()


def test_zero_sigma_is_floored_as_in_the_metric():
    mu, sigma, truth = _batch()
    sigma = torch.zeros_like(sigma)
    per_bin = metric.gll_per_bin(*(v.numpy() for v in (mu, sigma, truth)), *NAIVE)
    np.testing.assert_allclose(gll_per_bin(mu, sigma, truth, *NAIVE), per_bin, rtol=1e-12)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_shapes_that_would_broadcast_are_refused(broken):
    batch = _batch()
    batch[broken] = batch[broken][:1]
    with pytest.raises(ValueError, match="must all be"):
        gll_score(*batch, *NAIVE)


def test_loss_is_penalty_minus_score():
    mu, sigma, truth = _batch()
    rule = parse("mu >= 0.0150", unit=1e-3)
    losses = Loss(*NAIVE, WL, 0.5 * rule)(mu, sigma, truth)
    assert losses.score.item() == pytest.approx(gll_score(mu, sigma, truth, *NAIVE).mean().item(), rel=1e-12)
    assert losses.penalty.item() == pytest.approx(0.5 * rule.penalty(mu, sigma, WL).mean().item(), rel=1e-12) != 0
    assert losses.total.item() == pytest.approx(losses.penalty.item() - losses.score.item(), rel=1e-12)
    assert Loss(*NAIVE, WL)(mu, sigma, truth).penalty.item() == 0


def test_descent_finds_the_truth_and_the_size_of_the_error():
    """Minimising the loss over a shared sigma and an offset a planet recovers both (maximum likelihood)."""
    generator = np.random.default_rng(4)
    truth = torch.from_numpy(0.0146 + 3e-5 * generator.standard_normal((200, N_BINS)))
    offset = torch.full((1,), 0.0147, dtype=torch.float64, requires_grad=True)
    log_sigma = torch.full((1,), np.log(1e-4), dtype=torch.float64, requires_grad=True)
    loss = Loss(*NAIVE, WL)
    optimiser = torch.optim.Adam([{"params": [offset], "lr": 2e-6}, {"params": [log_sigma], "lr": 0.02}])
    for _ in range(300):
        optimiser.zero_grad()
        losses = loss(offset.expand_as(truth), log_sigma.exp().expand_as(truth), truth)
        losses.total.backward()
        optimiser.step()
    assert offset.item() == pytest.approx(0.0146, abs=2e-6)
    assert log_sigma.exp().item() == pytest.approx(3e-5, rel=0.03)
