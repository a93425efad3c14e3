"""Transit light curves against batman, analytic cases and automatic differentiation at the contact points."""

import batman
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitlib.transit import flux as transit


def _t(value) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _batman(time_h, t0, period, a, b, k, u1, u2):
    p = batman.TransitParams()
    p.t0, p.per, p.rp, p.a, p.inc = t0 / 24, period, k, a, np.degrees(np.arccos(b / a))
    p.ecc, p.w, p.u, p.limb_dark = 0.0, 90.0, [u1, u2], "quadratic"
    return batman.TransitModel(p, time_h / 24).light_curve(p)


def test_agrees_with_batman_over_the_whole_range():
    rng = np.random.default_rng(11)
    time_h = np.linspace(0, 7.5, 751)
    for trial in range(200):
        k = rng.uniform(0.03, 0.3)
        contacts = [0.0, 0.5, 1.0, k, 1 - k, 1 + k]
        b = contacts[trial % 6] if trial % 5 == 0 else rng.uniform(0, 1 + k)
        args = (
            rng.uniform(3, 4.5),
            rng.uniform(2.8, 7.6),
            rng.uniform(4.2, 21),
            b,
            k,
            rng.uniform(0, 0.8),
            rng.uniform(-0.1, 0.4),
        )
        ours = transit.transit_flux(_t(time_h), *(_t(v) for v in args)).numpy()
        assert np.abs(ours - _batman(time_h, *args)).max() < 1e-6  # 1 ppm


@pytest.mark.parametrize("k", [0.03, 0.1, 0.3])
def test_finite_value_and_gradient_at_every_contact_point(k):
    for separation in (0.0, 0.5, 1.0, k, abs(1 - k), 1 + k):
        inputs = [_t(v).requires_grad_() for v in (separation, k, 0.4, 0.2)]
        flux = transit.relative_flux(*inputs)
        flux.backward()
        assert torch.isfinite(flux)
        assert all(torch.isfinite(v.grad) for v in inputs), separation
    orbit = [_t(v).requires_grad_() for v in (3.7, 4.0, 10.0, 0.0, k, 0.4, 0.2)]
    transit.transit_flux(_t([3.7, 2.0]), *orbit).sum().backward()
    assert all(torch.isfinite(v.grad) for v in orbit)


@settings(max_examples=60, deadline=None)
@given(d=st.floats(0.0, 1.35), k=st.floats(0.03, 0.3))
def test_gradients_equal_finite_differences(d, k):
    if min(abs(d - (1 - k)), abs(d - (1 + k)), d) < 3e-3:  # a central difference straddles the kink there
        return
    value = lambda d_, k_: transit.relative_flux(_t(d_), _t(k_), _t(0.4), _t(0.2)).item()  # noqa: E731
    inputs = [_t(d).requires_grad_(), _t(k).requires_grad_()]
    transit.relative_flux(*inputs, _t(0.4), _t(0.2)).backward()
    h = 1e-5
    assert inputs[0].grad.item() == pytest.approx((value(d + h, k) - value(d - h, k)) / (2 * h), abs=2e-5)
    assert inputs[1].grad.item() == pytest.approx((value(d, k + h) - value(d, k - h)) / (2 * h), abs=2e-5)


def test_exposed_integrals_are_means_of_the_pairs():
    """Averages over the moments of an exposure and the chain rule, written out; behind the star nothing."""
    rng = np.random.default_rng(3)
    separation = rng.uniform(0, 1.3, (7, 2))
    separation[0], separation[1, 0] = np.inf, 0.0
    slopes, shares, ratio = rng.normal(size=(3, 7, 2)), np.array([0.3, 0.7]), np.array([0.05, 0.1, 0.2])
    found = transit.exposed_integrals(separation, slopes, shares, ratio)
    expected = np.zeros((5, 3, 3, 7))
    for t, m, j in np.ndindex(7, 2, 3):
        value, by_k, by_d = (one.numpy() for one in transit.overlap_integrals(_t(separation[t, m]), _t(ratio[j])))
        for row, part in enumerate((value, by_k, *(by_d * slope for slope in slopes[:, t, m]))):
            expected[row, :, j, t] += shares[m] * part
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
    assert not found[..., 0].any() and found[0, ..., 1].all()


def test_derivatives_of_the_brightness_are_autograds():
    limb = _t([0.4, 0.2])
    by_autograd = torch.autograd.functional.jacobian(
        lambda u: torch.stack(transit.brightness_coefficients(*u)[0]), limb
    )
    by_hand = torch.stack([torch.stack(one) for one in transit.brightness_coefficients(*limb)[1:]], -1)
    assert torch.allclose(by_hand, by_autograd, rtol=1e-14, atol=0)


@given(k=st.floats(0.01, 0.5), d=st.floats(0.0, 0.49))
def test_uniform_disc_hides_k_squared(k, d):
    assert transit.relative_flux(_t(d), _t(k), _t(0.0), _t(0.0)).item() == pytest.approx(1 - k * k, abs=1e-9)


@given(u1=st.floats(0, 1), u2=st.floats(-0.2, 0.4), k=st.floats(0.03, 0.3))
def test_no_overlap_hides_nothing(u1, u2, k):
    assert transit.relative_flux(_t(1.0001 + k), _t(k), _t(u1), _t(u2)).item() == pytest.approx(1, abs=1e-12)


def test_exposure_integration_keeps_a_constant_and_agrees_with_brute_force():
    time = _t(np.linspace(2, 5, 61))
    constant = transit.integrate_exposure(lambda t: torch.ones_like(t), time, 0.05)
    assert torch.allclose(constant, torch.ones_like(time), atol=1e-14)
    model = lambda t: transit.transit_flux(t, *map(_t, (3.5, 4.0, 10.0, 0.3, 0.1, 0.4, 0.2)))  # noqa: E731
    fine = torch.stack([model(time + dt) for dt in np.linspace(-0.01, 0.01, 201)]).mean(0)
    assert (transit.integrate_exposure(model, time, 0.02) - fine).abs().max() < 5e-6


def test_duration_and_far_side():
    period, a, b, k = map(_t, (4.0, 10.0, 0.3, 0.1))
    half = transit.transit_duration_h(period, a, b, k) / 2
    edges = transit.projected_separation(torch.stack([-half, half]), _t(0.0), period, a, b)
    assert torch.allclose(edges, 1 + k.expand(2), atol=1e-9)
    assert (
        transit.projected_separation(_t(48.0), _t(0.0), period, a, b).item() == 10
    )  # half a period later: behind the star
    assert transit.transit_duration_h(period, a, _t(1.2), k).item() == 0


def test_broadcasts_planet_wavelength_time():
    flux = transit.transit_flux(
        _t(np.linspace(0, 7, 50)),
        _t([[[3.5]], [[3.9]]]),
        _t([[[4.0]], [[5.0]]]),
        _t([[[9.0]], [[12.0]]]),
        _t([[[0.2]], [[0.4]]]),
        _t(np.full((2, 3, 1), 0.1)),
        _t(np.full((1, 3, 1), 0.2)),
        _t(0.1),
    )
    assert flux.shape == (2, 3, 50)
