"""The score against an independent formulation (scipy's log-density, weights by np.average) and analytic cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from spectra import NAIVE

from kitlib.sigma.metric import Score, gll_per_bin, gll_score, naive_statistics

SIGMA_TRUE = np.append(1e-6, np.full(282, 1e-5))
WEIGHTS = np.append(57.846, np.ones(282))


def reference(mu, sigma, truth, naive_mean, naive_sigma):
    """The official formula written with scipy."""
    sigma = np.clip(sigma, 1e-15, None)
    predicted = norm.logpdf(truth, loc=mu, scale=sigma)
    ideal = norm.logpdf(truth, loc=truth, scale=SIGMA_TRUE * np.ones_like(truth))
    naive = norm.logpdf(truth, loc=naive_mean, scale=naive_sigma)
    s = (predicted - naive) / (ideal - naive)
    return s, np.average(s, weights=WEIGHTS * np.ones_like(s))


def campaign(seed, planets=7):
    rng = np.random.default_rng(seed)
    truth = np.exp(rng.normal(-4.44, 0.653, (planets, 1))) + rng.normal(0, 1e-4, (planets, 283))
    truth = np.maximum(truth, 1e-3)
    sigma = np.exp(rng.normal(-9.5, 1.0, truth.shape))
    return truth + sigma * rng.standard_normal(truth.shape), sigma, truth


@pytest.mark.parametrize("seed", range(5))
def test_equals_an_independent_formulation_to_1e_12(seed):
    mu, sigma, truth = campaign(seed)
    mu = np.abs(mu)
    s, total = reference(mu, sigma, truth, *NAIVE)
    np.testing.assert_allclose(gll_per_bin(mu, sigma, truth, *NAIVE), s, rtol=1e-12, atol=1e-12)
    score = gll_score(mu, sigma, truth, *NAIVE)
    assert 0 < total < 1
    assert score.total == pytest.approx(total, abs=1e-12)
    assert score.fgs1 == pytest.approx(s[:, 0].mean(), abs=1e-12)
    assert score.airs == pytest.approx(s[:, 1:].mean(), abs=1e-12)


def test_total_is_the_weighted_sum_of_its_parts():
    mu, sigma, truth = campaign(11)
    score = gll_score(np.abs(mu), sigma, truth, *NAIVE)
    assert score.total == pytest.approx((57.846 * score.fgs1 + 282 * score.airs) / (57.846 + 282), abs=1e-14)


def test_the_truth_with_the_official_sigma_scores_one():
    truth = campaign(0)[2]
    score = gll_score(truth, np.broadcast_to(SIGMA_TRUE, truth.shape), truth, *NAIVE)
    assert (score.total, score.fgs1, score.airs) == pytest.approx((1, 1, 1), abs=1e-14)


def test_the_naive_prediction_scores_zero():
    truth = campaign(1)[2]
    score = gll_score(np.full_like(truth, NAIVE[0]), np.full_like(truth, NAIVE[1]), truth, *NAIVE)
    assert (score.total, score.fgs1, score.airs) == pytest.approx((0, 0, 0), abs=1e-14)


def test_one_point_by_hand():
    """y = naive mean, mu off by one sigma of 1e-4: s = (-1/2 - ln 1e-4 + ln 0.0106) / (-ln sigma_true + ln 0.0106)."""
    truth = np.full((1, 283), NAIVE[0])
    s = gll_per_bin(truth + 1e-4, np.full_like(truth, 1e-4), truth, *NAIVE)
    assert s[0, 0] == pytest.approx((np.log(106) - 0.5) / np.log(10600), rel=1e-9)
    assert s[0, 1] == pytest.approx((np.log(106) - 0.5) / np.log(1060), rel=1e-9)


def test_only_the_total_is_clipped():
    mu, sigma, truth = campaign(2)
    bad = gll_score(truth + 0.01, np.full_like(sigma, 1e-5), truth, *NAIVE)
    assert bad.total == 0 and bad.fgs1 < -1000 and bad.airs < -1000
    better_than_one = gll_score(truth, np.full_like(sigma, 1e-9), truth, *NAIVE)
    assert better_than_one.total == 1 and better_than_one.fgs1 > 1 and better_than_one.airs > 1


def test_one_bad_bin_is_not_clipped_away():
    mu, sigma, truth = campaign(3)
    mu = truth.copy()
    mu[0, 5] += 50 * sigma[0, 5]
    expected = reference(mu, sigma, truth, *NAIVE)[1]
    assert gll_score(mu, sigma, truth, *NAIVE).total == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)


def test_sigma_is_clipped_at_1e_15():
    truth = campaign(4)[2]
    zero, tiny = (gll_per_bin(truth, np.full_like(truth, v), truth, *NAIVE) for v in (0.0, 1e-15))
    np.testing.assert_array_equal(zero, tiny)


def test_naive_statistics_are_population_statistics_of_the_whole_table():
    depth = np.full((2, 283), 0.01)
    depth[1] = 0.03
    assert naive_statistics(depth) == (pytest.approx(0.02, rel=1e-12), pytest.approx(0.01, rel=1e-12))
    sample = campaign(5)[2]
    assert naive_statistics(sample)[1] == pytest.approx(np.sqrt(((sample - sample.mean()) ** 2).mean()), rel=1e-12)


@pytest.mark.parametrize("name", ["mu", "sigma"])
def test_negative_values_are_refused_with_row_and_bin(name):
    mu, sigma, truth = campaign(6)
    arrays = {"mu": np.abs(mu), "sigma": sigma}
    arrays[name] = arrays[name].copy()
    arrays[name][3, 17] = -1e-9
    with pytest.raises(ValueError, match=rf"{name} is negative .* row 3, bin 17"):
        gll_score(arrays["mu"], arrays["sigma"], truth, *NAIVE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", range(3))
def test_non_finite_values_are_refused(position, value):
    arrays = [np.abs(a) for a in campaign(7)]
    arrays[position][1, 2] = value
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        gll_score(*arrays, *NAIVE)


def test_text_shapes_and_empty_tables_are_refused():
    mu, sigma, truth = (np.abs(a) for a in campaign(8))
    with pytest.raises(ValueError, match="not numbers"):
        gll_score(mu.astype(str), sigma, truth, *NAIVE)
    with pytest.raises(ValueError, match="shape"):
        gll_score(mu[:, :282], sigma[:, :282], truth[:, :282], *NAIVE)
    with pytest.raises(ValueError, match="shape"):
        gll_score(mu[:3], sigma, truth, *NAIVE)
    with pytest.raises(ValueError, match="no planet"):
        gll_score(mu[:0], sigma[:0], truth[:0], *NAIVE)
    with pytest.raises(ValueError, match="empty"):
        naive_statistics(truth[:0])


@pytest.mark.parametrize("naive_sigma", [0.0, -1.0, 1e-6, np.nan, np.inf])
def test_a_meaningless_naive_sigma_is_refused(naive_sigma):
    mu, sigma, truth = (np.abs(a) for a in campaign(9))
    with pytest.raises(ValueError, match="naive"):
        gll_score(mu, sigma, truth, 0.0146, naive_sigma)


def test_inputs_are_not_mutated_and_float32_is_accepted():
    arrays = [np.abs(a).astype(np.float32) for a in campaign(10)]
    copies = [a.copy() for a in arrays]
    score = gll_score(*arrays, *NAIVE)
    assert isinstance(score, Score)
    for before, after in zip(copies, arrays, strict=True):
        np.testing.assert_array_equal(before, after)
    assert score.total == pytest.approx(gll_score(*(a.astype(float) for a in arrays), *NAIVE).total, abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 1e-2), st.floats(0.2, 0.98) | st.floats(1.02, 5.0))
def test_the_best_sigma_is_the_size_of_the_error(error, factor):
    truth = np.full((1, 283), 0.02)
    best = gll_per_bin(truth + error, np.full_like(truth, error), truth, *NAIVE)
    other = gll_per_bin(truth + error, np.full_like(truth, error * factor), truth, *NAIVE)
    assert (other < best).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(-0.004, 0.004), st.integers(0, 1000))
def test_a_common_shift_changes_nothing(shift, seed):
    mu, sigma, truth = campaign(seed, planets=2)
    mu, truth = np.abs(mu) + 0.01, truth + 0.01
    before = gll_per_bin(mu, sigma, truth, *NAIVE)
    after = gll_per_bin(mu + shift, sigma, truth + shift, NAIVE[0] + shift, NAIVE[1])
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_error_in_either_direction_costs_the_same(scale, seed):
    _, sigma, truth = campaign(seed, planets=2)
    truth = truth + 0.05
    offset = np.minimum(scale * sigma, 0.04)
    plus, minus = (gll_per_bin(truth + sign * offset, sigma, truth, *NAIVE) for sign in (1, -1))
    np.testing.assert_allclose(plus, minus, rtol=1e-6, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(7)), st.integers(0, 1000))
def test_the_order_of_planets_does_not_matter(order, seed):
    arrays = [np.abs(a) for a in campaign(seed)]
    shuffled = [a[list(order)] for a in arrays]
    assert gll_score(*shuffled, *NAIVE).total == pytest.approx(gll_score(*arrays, *NAIVE).total, abs=1e-12)
