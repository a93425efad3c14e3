"""Rules: what they compute, their algebra, their gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra import WL

from kitlib.base.instruments import MOLECULAR_BANDS_UM, N_BINS
from kitlib.rules import constraints as rules
from kitlib.rules.constraints import parse

PLANETS = 3


def _spectra(seed=0):
    generator = np.random.default_rng(seed)
    mu = 0.015 + 2e-4 * generator.standard_normal((PLANETS, N_BINS))
    sigma = 1e-4 * np.exp(0.3 * generator.standard_normal((PLANETS, N_BINS)))
    return torch.from_numpy(mu), torch.from_numpy(sigma)


MU, SIGMA = _spectra()
_m, _s = MU.numpy(), SIGMA.numpy()


def _between(low, high):
    return (low <= WL) & (high >= WL)


_H2O, _BAND = _between(2.45, 2.95), _between(2.6, 2.9)


# ---- what rules compute, against numpy


def _held(excess, bins=None):
    """Penalty and violation of `excess <= 0`, written out: excess (P, W) on `bins`, or (P,) counted in `bins`."""
    bins = np.arange(N_BINS) if bins is None else np.flatnonzero(bins)
    failed = np.maximum(excess, 0)
    violation = np.zeros((PLANETS, N_BINS))
    violation[:, bins] = failed if failed.ndim == 2 else failed[:, None]
    return (failed**2).mean(axis=1) if failed.ndim == 2 else failed**2, violation


CASES = {
    "mu >= 0.015": _held(0.015 - _m),
    "mu > 0.015": _held(0.015 - _m),
    "mu <= 0.015": _held(_m - 0.015),
    "mu == 0.015": _held(abs(_m - 0.015)),
    "abs(sigma) < 90 * ppm": _held(abs(_s) - 9e-5),
    "mu[2.6:2.9] >= 0.015": _held(0.015 - _m[:, _BAND], _BAND),
    "mu[:1] >= 0.015": _held(0.015 - _m[:, :1], WL < 1),
    'mu[band("H2O")] >= 0.015': _held(0.015 - _m[:, _H2O], _H2O),
    'band("H2O") >= 0.015': _held(0.015 - _m[:, _H2O], _H2O),
    "mu[2.6:2.9] >= mu": _held(0 * _m[:, _BAND], _BAND),
    "mu[2.6:2.9] + 2 * sigma >= 0.0152": _held(0.0152 - (_m + 2 * _s)[:, _BAND], _BAND),
    "mean(mu[2.6:2.9]) >= 0.0151": _held(0.0151 - _m[:, _BAND].mean(1), _BAND),
    "std(mu) <= 100 * ppm": _held(_m.std(1) - 1e-4, np.ones(N_BINS, dtype=bool)),
    "max(mu) - min(mu) <= 800 * ppm": _held(_m.max(1) - _m.min(1) - 8e-4, np.ones(N_BINS, dtype=bool)),
    "max(mu, 0.015) <= 0.01501": _held(np.maximum(_m, 0.015) - 0.01501),
    "sum(sigma) <= 0.01": _held(_s.sum(1) - 0.01, np.ones(N_BINS, dtype=bool)),
    "log(sigma) <= -9.2": _held(np.log(_s) + 9.2),
    "sqrt(mu) >= exp(-2.1)": _held(np.exp(-2.1) - np.sqrt(_m)),
    "mu ** 2 / wl <= 7e-5": _held(_m**2 / WL - 7e-5),
    "sigma ** -1 <= 1e4": _held(1 / _s - 1e4),
    "-mu <= -0.015": _held(-_m + 0.015),
    "mean(mu[2.6:2.9] / mean(mu)) >= 1": _held(1 - (_m / _m.mean(1, keepdims=True))[:, _BAND].mean(1), _BAND),
    "diff(mu) <= 0": _held(np.diff(_m[:, 1:]), np.arange(N_BINS) >= 2),
    "diff(mu, 2) == 0": _held(abs(np.diff(_m[:, 1:], 2)), (np.arange(N_BINS) >= 2) & (np.arange(N_BINS) <= 281)),
}


@pytest.mark.parametrize("text", CASES)
def test_penalty_and_violation_are_what_numpy_gives(text):
    penalty, violation = CASES[text]
    np.testing.assert_allclose(parse(text).penalty(MU, SIGMA, WL), penalty, rtol=1e-10, atol=1e-25)
    np.testing.assert_allclose(parse(text).violations(MU, SIGMA, WL), violation, rtol=1e-9, atol=1e-18)


def test_unit_scales_the_penalty_alone():
    plain, scaled = parse("mu >= 0.015"), parse("mu >= 0.015", unit=1e-5)
    torch.testing.assert_close(scaled.penalty(MU, SIGMA, WL), plain.penalty(MU, SIGMA, WL) * 1e10)
    assert np.array_equal(scaled.violations(MU, SIGMA, WL), plain.violations(MU, SIGMA, WL))


def test_differences_do_not_step_over_gaps_or_from_fgs1_to_airs():
    mu = torch.zeros(1, N_BINS, dtype=torch.float64)
    mu[0, 0] = 1.0  # FGS1 far from AIRS
    low, high = (np.flatnonzero(_between(*ends)) for ends in MOLECULAR_BANDS_UM["CO2"])
    mu[0, high] = 5.0  # CO2's second band far from its first
    assert parse('diff(mu[band("CO2")]) == 0').penalty(mu, mu, WL).item() == 0
    assert parse("diff(mu[:2.6]) == 0").penalty(mu, mu, WL).item() == 0
    assert np.flatnonzero(parse("diff(mu) == 0").violations(mu, mu, WL)[0]).tolist() == [high[0], high[-1] + 1]
    assert low[-1] + 1 < high[0]


def test_chain_and_or():
    def penalty(text):
        return parse(text).penalty(MU, SIGMA, WL)

    a, b, c = penalty("mu > 0.0150"), penalty("mu < 0.0151"), penalty("sigma < 90 * ppm")
    torch.testing.assert_close(penalty("0.0150 < mu < 0.0151"), a + b)
    torch.testing.assert_close(penalty("mu > 0.0150 and mu < 0.0151"), a + b)
    torch.testing.assert_close(penalty("mu > 0.0150 or mu < 0.0151"), a * b)
    torch.testing.assert_close(penalty("(mu > 0.0150 or mu < 0.0151) and sigma < 90 * ppm"), a * b + c)


def test_line_breaks_of_a_yaml_block_are_blanks():
    torch.testing.assert_close(
        parse("\n  mu\n >=\t0.015\n").penalty(MU, SIGMA, WL), parse("mu >= 0.015").penalty(MU, SIGMA, WL)
    )


@st.composite
def _expression(draw, depth=3):
    """Random text that both Python on numpy arrays and our language understand."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(["mu", "sigma", "wl", "ppm", "1", "2.5", "1e-3"]))
    part = _expression(depth - 1)
    kind = draw(st.integers(0, 5))
    if kind <= 2:
        return f"({draw(part)} {draw(st.sampled_from('+-*'))} {draw(part)})"
    if kind == 3:
        return f"{draw(st.sampled_from(['mean', 'max', 'min', 'sum']))}({draw(part)} + 0 * mu)"
    if kind == 4:
        return f"-abs({draw(part)})"
    return f"({draw(part)}) ** {draw(st.integers(0, 3))}"


@settings(max_examples=80, deadline=None)
@given(left=_expression(), right=_expression())
def test_any_arithmetic_agrees_with_numpy(left, right):
    def over(function):
        return lambda x: function(x, axis=1, keepdims=True)

    names = {"mu": _m, "sigma": _s, "wl": WL[None], "ppm": 1e-6, "abs": np.abs}
    names |= {name: over(getattr(np, name)) for name in ("mean", "max", "min", "sum")}
    text = f"{left} <= 0 * mean(mu) + {right}"
    difference = np.broadcast_to(eval(f"({left}) - ({right}) + 0 * mean(mu)", {}, names), (PLANETS, N_BINS))
    expected = (np.maximum(difference, 0) ** 2).mean(axis=1)
    scale = max(1e-20, np.abs(eval(f"abs({left}) + abs({right})", {}, names)).max() ** 2)
    np.testing.assert_allclose(parse(text).penalty(MU, SIGMA, WL), expected, rtol=1e-9, atol=1e-9 * scale)


# ---- bad input


@pytest.mark.parametrize("unit", [0, -1.0, float("nan"), float("inf")])
def test_bad_units_are_refused(unit):
    with pytest.raises(ValueError, match="unit"):
        parse("mu >= 0", unit)


def test_wrong_shapes_are_refused():
    rule = parse("mu >= 0")
    with pytest.raises(ValueError, match="shape"):
        rule.penalty(MU[:, :5], SIGMA[:, :5], WL)
    with pytest.raises(ValueError, match="shape"):
        rule.penalty(MU, SIGMA[:1], WL)
    with pytest.raises(ValueError, match="wavelengths"):
        rule.penalty(MU, SIGMA, WL[1:])


# ---- algebra

A, B, C = parse("mu >= 0.0150", 1e-5), parse("sigma <= 100 * ppm", 1e-5), parse("std(mu) <= 190 * ppm", 1e-5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A + B, B + A),
        ((A + B) + C, A + (B + C)),
        (A * B, B * A),
        ((A * B) * C, A * (B * C)),
        (A * (B + C), A * B + A * C),
        (2.0 * (A + B), 2.0 * A + B * 2),
        (3 * (0.5 * A), 1.5 * A),
        (0 * A + B, B),
        ((2 * A) * (3 * B), 6 * (A * B)),
    ],
)
def test_laws_of_the_algebra(one, other):
    torch.testing.assert_close(one.penalty(MU, SIGMA, WL), other.penalty(MU, SIGMA, WL), rtol=1e-12, atol=0)


def test_sum_and_product_are_and_and_or_of_violations():
    mu = torch.full((4, N_BINS), 0.02, dtype=torch.float64)
    sigma = torch.full((4, N_BINS), 1e-5, dtype=torch.float64)
    mu[1, 7] = mu[3, 7] = 0.014
    sigma[2, 9] = sigma[3, 9] = 3e-4
    both, either = A + B, A * B
    assert (both.penalty(mu, sigma, WL) > 0).tolist() == [False, True, True, True]
    assert (either.penalty(mu, sigma, WL) > 0).tolist() == [False, False, False, True]
    assert [np.flatnonzero(row).tolist() for row in both.violations(mu, sigma, WL)] == [[], [7], [9], [7, 9]]
    assert [np.flatnonzero(row).tolist() for row in either.violations(mu, sigma, WL)] == [[], [], [], [7, 9]]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_reward_violations_are_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        weight * A


@pytest.mark.parametrize("other", ["mu > 0", None, True])
def test_only_rules_and_numbers_combine(other):
    with pytest.raises(TypeError):
        A + other
    with pytest.raises(TypeError):
        A * other


# ---- gradients


@pytest.mark.parametrize(
    "text",
    [
        "mu >= 0.1",
        "0 < sigma < 0.5",
        "diff(mu[2.5:3.0], 2) == 0",
        "mean(mu[2.6:2.9]) / std(mu) >= 1",
        "max(mu) - min(mu) <= 1 or log(sigma) < -1",
        "mu[2.6:2.9] * sigma ** 2 + exp(mu) <= sqrt(sigma)",
    ],
)
def test_gradcheck(text):
    """In a few bins: the others stay constant, so that the Jacobian is small."""
    generator = torch.Generator().manual_seed(3)
    bins = torch.tensor([0, 1, 2, 93, 94, 95, 96, 110, 281, 282])
    mu, sigma = (torch.rand(2, N_BINS, dtype=torch.float64, generator=generator) + 0.01 for _ in range(2))
    rule = parse(text)

    def penalty(part_of_mu, part_of_sigma):
        return rule.penalty(mu.index_copy(1, bins, part_of_mu), sigma.index_copy(1, bins, part_of_sigma), WL)

    inputs = tuple(v[:, bins].clone().requires_grad_() for v in (mu, sigma))
    assert torch.autograd.gradcheck(penalty, inputs)


def test_gradient_descent_satisfies_a_rule():
    mu = (torch.randn(2, N_BINS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    rule = parse("mu >= 0") + parse("mean(mu[2.6:2.9]) <= 0.1")
    optimiser = torch.optim.LBFGS([mu], max_iter=100)

    def closure():
        optimiser.zero_grad()
        loss = rule.penalty(mu, torch.ones_like(mu), WL).sum()
        loss.backward()
        return loss

    assert closure().item() > 0.1
    optimiser.step(closure)
    assert rule.violations(mu.detach(), torch.ones(2, N_BINS), WL).max() < 1e-3


def test_left_out_bins_do_not_poison_the_gradient():
    mu = MU.clone().requires_grad_()
    parse("1 / (wl - 0.7) * mu[1.9:] <= 0").penalty(mu, SIGMA, WL).sum().backward()
    assert torch.isfinite(mu.grad).all() and (mu.grad[:, 1:] > 0).all() and (mu.grad[:, 0] == 0).all()


def test_a_flat_spectrum_has_finite_gradients():
    mu = torch.full((1, N_BINS), 0.01, dtype=torch.float64, requires_grad=True)
    parse("std(mu) >= 20 * ppm").penalty(mu, torch.ones_like(mu), WL).sum().backward()
    assert torch.isfinite(mu.grad).all()


def test_nan_counts_as_a_violation():
    mu = MU.clone()
    mu[1, 5] = float("nan")
    rows = rules.RuleSet({"nonneg_mu": parse("mu >= 0")}).report([1, 2, 3], mu, SIGMA, WL)
    assert [(row["planet_id"], row["worst_bin"], row["bins"]) for row in rows] == [(2, 5, 1)]
