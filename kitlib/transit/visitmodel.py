"""Model of one planet's visits, star x gain drift x limb-darkened transit, linearised around a state.

For channel c (FGS1, or one AIRS bin, or AIRS white) of visit v:

    flux(t) = F0_cv * (1 + p_v(tau) q_v(x_c)) * T(t; depth_c, a/Rs, b, t0_v, u1_c, u2_c)

The drift is separable: p a polynomial of time without constant term, q one of channel position (1 for FGS1), both in
powers of a variable scaled to [-1, 1]. Its colour therefore tells its shape in time, which a white light curve cannot
separate from the transit. AIRS may have a second term, sum over i, j of C_ij tau^i x^j with a narrow prior: what one
separable term leaves. F0 is eliminated exactly (variable projection); every other derivative is analytic, so that a
Gauss-Newton step costs a few milliseconds.

Array letters: W channels, T time samples, L local columns of a channel (ln a/Rs, b, t0, u1, u2, tau..tau^n), S shared
parameters. Limb darkening: `limbdarkening`, in units of its prior.
"""

from dataclasses import dataclass, field

import numpy as np

from ..base.products import Array
from .channelmodel import GEOMETRY, channel_parts, linearise
from .parameters import Layout, State
from .series import Series


@dataclass(frozen=True)
class NormalEquations:
    """Gauss-Newton system of the likelihood alone, and its chi2, at one state."""

    shared: Array  # (S, S)
    cross: Array  # (channels, S)
    depth: Array  # (channels,): the block is diagonal, a channel's light curve knows its own depth only
    gradient_shared: Array  # (S,)
    gradient_depth: Array  # (channels,)
    chi2: float
    samples: int
    residuals: list[Array] = field(default_factory=list)  # one (T, W) a series, in sigma


def normal_equations(series: list[Series], layout: Layout, state: State, period_days: float) -> NormalEquations:
    """Linearise all series at `state`."""
    size, channels = len(state.shared), len(state.depth)
    shared, cross = np.zeros((size, size)), np.zeros((channels, size))
    depth, gradient_shared, gradient_depth = np.zeros(channels), np.zeros(size), np.zeros(channels)
    chi2, samples, residuals = 0.0, 0, []
    for one in series:
        gram, right, residual, design = linearise(one, layout, state, period_days)
        half = np.matmul(gram[:, 1:, 1:], design)  # (W, L, S)
        rows = design.reshape(-1, size)
        shared += rows.T @ half.reshape(-1, size)
        cross[one.channels] += np.matmul(gram[:, None, 0, 1:], design)[:, 0]
        depth[one.channels] += gram[:, 0, 0]
        gradient_shared += right[:, 1:].reshape(-1) @ rows
        gradient_depth[one.channels] += right[:, 0]
        chi2 += float((residual**2).sum())
        samples += int((one.weight > 0).sum())
        residuals.append(residual.T)
    return NormalEquations(shared, cross, depth, gradient_shared, gradient_depth, chi2, samples, residuals)


@dataclass(frozen=True)
class Fitted:
    """The factors of a series' fitted model: flux = gain * transit, in the series' own unit."""

    gain: Array  # (T, W) star times drift
    transit: Array  # (T, W) 1 out of transit
    star: Array  # (W,) without planet and drift
    u1: Array  # (W,) limb darkening
    u2: Array


def fitted(one: Series, layout: Layout, state: State, period_days: float) -> Fitted:
    """The model of a series at a state, the star's level of each channel the one that fits best."""
    parts = channel_parts(one, layout, state, period_days)
    gain, transit = parts.gain, parts.transit
    star = _star(one, gain * transit)
    return Fitted((star[:, None] * gain).T, transit.T, star, parts.u1, parts.u2)


def model_flux(one: Series, layout: Layout, state: State, period_days: float) -> Array:
    """Fitted flux of a series in its own unit, (T, W)."""
    found = fitted(one, layout, state, period_days)
    return found.gain * found.transit


def _star(one: Series, model: Array) -> Array:
    """The level that fits best beside `model` (W, T), (W,)."""
    flux, weight = one.flux.T, one.weight.T
    return (weight * flux * model).sum(1) / np.maximum((weight * model**2).sum(1), 1e-30)


def separable_start(
    one: Series, layout: Layout, state: State, period_days: float, depth_sd: float
) -> tuple[Array, Array]:
    """First guess of an AIRS visit's drift: p (order,) and q (colour order + 1,), geometry held at `state`.

    A general drift, any polynomial of time in each power of channel position, is solved linearly, with the layout's
    priors and each channel's depth free by `depth_sd`. It is then reduced to its leading singular pair.
    """
    gram, right, _, _ = linearise(one, layout, state, period_days)
    parts = channel_parts(one, layout, state, period_days)
    kept = [0, *range(1 + GEOMETRY, gram.shape[1])]  # depth and drift
    gram, right = gram[:, kept][:, :, kept], right[:, kept]
    right[:, 1:] += np.matmul(gram[:, 1:, 1:], (parts.colour[:, None] * parts.drift)[:, :, None])[:, :, 0]
    share = gram[:, 0, 1:] / (gram[:, 0, 0] + depth_sd**-2)[:, None]  # depth eliminated
    own = gram[:, 1:, 1:] - share[:, :, None] * gram[:, None, 0, 1:]
    right = right[:, 1:] - share * right[:, :1]
    basis, order = parts.colour_basis, layout.drift_order
    size = order * basis.shape[1]
    matrix = np.einsum("wa,wb,wij->aibj", basis, basis, own, optimize=True).reshape(size, size)
    scale = layout.sd[layout[f"airs_drift_{one.visit}"]]
    matrix[np.diag_indices(size)] += np.tile(scale**-2.0, basis.shape[1])
    general = np.linalg.solve(matrix, np.einsum("wa,wi->ai", basis, right).ravel()).reshape(-1, order)
    left, values, rows = np.linalg.svd(general)
    drift = rows[0] * values[0]
    balance = np.sqrt(np.linalg.norm(drift / scale) + 1e-3)  # p in units of its prior and q equally large
    return drift / balance, left[:, 0] * balance
