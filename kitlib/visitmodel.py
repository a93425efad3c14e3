"""Model of one planet's visits, star x gain drift x limb-darkened transit, linearised around a state.

For channel c (FGS1, or one AIRS bin, or AIRS white) of visit v:

    flux(t) = F0_cv * (1 + p_v(tau) q_v(x_c)) * T(t; depth_c, a/Rs, b, t0_v, u1_c, u2_c)

The drift is separable: p a polynomial of time without constant term, q one of channel position (1 for FGS1), both in
powers of a variable scaled to [-1, 1]. Its colour therefore tells its shape in time, which a white light curve cannot
separate from the transit. F0 is eliminated exactly (variable projection); every other derivative is analytic, so that a
Gauss-Newton step costs a few milliseconds.

Array letters: W channels, T time samples, L local columns of a channel (ln a/Rs, b, t0, u1, u2, tau..tau^n), S shared
parameters. Limb darkening varies over AIRS as u1 = sum_j u1_j P_j(x) with Legendre P_j, likewise u2.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.polynomial.legendre import legvander

from .instruments import FGS1
from .products import Array
from .series import Series
from .transit import brightness_coefficients, overlap_integrals

_EXPOSURE_NODES = np.polynomial.legendre.leggauss(3)
_GEOMETRY = 5  # local columns before the drift: ln a/Rs, b, t0, u1, u2


@dataclass(frozen=True)
class Layout:
    """Where each shared parameter sits in the state vector, and its Gaussian prior."""

    names: dict[str, slice]
    mean: Array  # (S,)
    sd: Array  # (S,)
    drift_order: int  # highest power of time
    colour_order: int  # highest power of channel position; 0 for a white light curve

    def __getitem__(self, name: str) -> slice:
        return self.names[name]


@dataclass(frozen=True)
class State:
    """A point of the parameter space."""

    shared: Array  # (S,)
    depth: Array  # (channels,)


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


def parameter_layout(visits: int, drift_order: int, colour_order: int) -> Layout:
    """State vector of a planet with neutral priors; `physfit` sets the planet's own means and widths."""
    sizes = {"ln_a": 1, "b": 1, "fgs1_delay": 1, "fgs1_u1": 1, "fgs1_u2": 1, "airs_u1": 3, "airs_u2": 2}
    for visit in range(visits):
        sizes |= {f"t0_{visit}": 1, f"fgs1_drift_{visit}": drift_order}
        sizes |= {f"airs_drift_{visit}": drift_order, f"airs_colour_{visit}": colour_order + 1}
    names, start = {}, 0
    for name, size in sizes.items():
        names[name] = slice(start, start + size)
        start += size
    return Layout(names, np.zeros(start), np.ones(start), drift_order, colour_order)


def normal_equations(series: list[Series], layout: Layout, state: State, period_days: float) -> NormalEquations:
    """Linearise all series at `state`."""
    size, channels = len(state.shared), len(state.depth)
    shared, cross = np.zeros((size, size)), np.zeros((channels, size))
    depth, gradient_shared, gradient_depth = np.zeros(channels), np.zeros(size), np.zeros(channels)
    chi2, samples, residuals = 0.0, 0, []
    for one in series:
        local, design, residual = _linearise(one, layout, state, period_days)
        gram = np.matmul(local.transpose(0, 2, 1), local)  # (W, 1 + L, 1 + L); column 0 is the depth
        right = np.matmul(local.transpose(0, 2, 1), residual[:, :, None])[:, :, 0]
        half = np.matmul(gram[:, 1:, 1:], design)  # (W, L, S)
        shared += np.tensordot(design, half, ([0, 1], [0, 1]))
        cross[one.channels] += np.matmul(gram[:, None, 0, 1:], design)[:, 0]
        depth[one.channels] += gram[:, 0, 0]
        gradient_shared += np.tensordot(right[:, 1:], design, ([0, 1], [0, 1]))
        gradient_depth[one.channels] += right[:, 0]
        chi2 += float((residual**2).sum())
        samples += int((one.weight > 0).sum())
        residuals.append(residual.T)
    return NormalEquations(shared, cross, depth, gradient_shared, gradient_depth, chi2, samples, residuals)


def chi2_of(series: list[Series], layout: Layout, state: State, period_days: float) -> float:
    """chi2 at `state`, without derivatives."""
    total = 0.0
    for one in series:
        model, _ = _channel_model(one, layout, state, period_days)
        total += float((one.weight.T * (one.flux.T - _star(one, model)[:, None] * model) ** 2).sum())
    return total


def model_flux(one: Series, layout: Layout, state: State, period_days: float) -> Array:
    """Fitted flux of a series in its own unit, (T, W)."""
    model, _ = _channel_model(one, layout, state, period_days)
    return (_star(one, model)[:, None] * model).T


def star_flux(one: Series, layout: Layout, state: State, period_days: float) -> Array:
    """Fitted flux of the star, without planet and drift, in the series' own unit, (W,)."""
    return _star(one, _channel_model(one, layout, state, period_days)[0])


def _star(one: Series, model: Array) -> Array:
    """The level that fits best beside `model` (W, T), (W,)."""
    flux, weight = one.flux.T, one.weight.T
    return (weight * flux * model).sum(1) / np.maximum((weight * model**2).sum(1), 1e-30)


@dataclass(frozen=True)
class _Parts:
    """Factors of a channel's model that its derivatives need."""

    gain: Array  # (W, T)
    transit: Array  # (W, T)
    interpolation: Array  # (W, 3, 3): limb coefficient n times weight of radius node j
    integrals: dict[str, Array]  # "value", "k", "ln_a", "b", "t0" -> (3 integrals, 3 nodes, T)
    node_weights: Array  # (W, 3)
    u1: Array  # (W,)
    u2: Array
    powers: Array  # (T, order) of time
    drift: Array  # (order,) coefficients of p
    colour: Array  # (W,) q
    colour_basis: Array  # (W, colour order + 1)


def _limb_darkening(one: Series, layout: Layout, state: State) -> tuple[Array, Array, Array, Array]:
    """(W,) u1 and u2, and the bases that they are expanded in, (W, 3) and (W, 2)."""
    if one.instrument == FGS1.name:
        ones = np.ones((1, 1))
        return state.shared[layout["fgs1_u1"]], state.shared[layout["fgs1_u2"]], ones, ones
    basis = legvander(one.position, 2)
    return basis @ state.shared[layout["airs_u1"]], basis[:, :2] @ state.shared[layout["airs_u2"]], basis, basis[:, :2]


def _channel_model(one: Series, layout: Layout, state: State, period_days: float) -> tuple[Array, _Parts]:
    """Gain times transit, (W, T), and its parts."""
    fgs1 = one.instrument == FGS1.name
    u1, u2, _, _ = _limb_darkening(one, layout, state)
    radius = np.sqrt(np.maximum(state.depth[one.channels], 1e-8))
    centre, spread = radius.mean(), max(float(np.ptp(radius)), 1e-3 * float(radius.mean()))
    nodes = np.clip(centre + spread * np.array([-1.0, 0.0, 1.0]), 1e-4, 0.95)
    integrals = _integrals(one, layout, state, period_days, nodes)
    weights = _lagrange(radius, nodes)
    coefficients = brightness_coefficients(
        torch.from_numpy(np.atleast_1d(u1)), torch.from_numpy(np.atleast_1d(u2))
    ).numpy()
    interpolation = coefficients[:, :, None] * weights[:, None, :]
    transit = 1 - _mix(interpolation, integrals["value"])
    tau = one.time_h / max(one.time_h[-1], 1e-9) * 2 - 1
    powers = np.vander(tau, layout.drift_order + 1, increasing=True)[:, 1:]
    if fgs1:
        drift, basis = state.shared[layout[f"fgs1_drift_{one.visit}"]], np.ones((1, 1))
        colour = np.ones(1)
    else:
        drift = state.shared[layout[f"airs_drift_{one.visit}"]]
        basis = np.vander(one.position, layout.colour_order + 1, increasing=True)
        colour = basis @ state.shared[layout[f"airs_colour_{one.visit}"]]
    gain = 1 + colour[:, None] * (powers @ drift)
    parts = _Parts(gain, transit, interpolation, integrals, weights, u1, u2, powers, drift, colour, basis)
    return gain * transit, parts


def _integrals(one: Series, layout: Layout, state: State, period_days: float, nodes: Array) -> dict[str, Array]:
    """Overlap integrals and their derivatives at three radius ratios, averaged over each exposure; (3, 3 nodes, T)."""
    x, w = _EXPOSURE_NODES
    time = one.time_h[:, None] + x / 2 * one.exposure_h
    t0 = state.shared[layout[f"t0_{one.visit}"]][0]
    if one.instrument == FGS1.name:
        t0 = t0 + state.shared[layout["fgs1_delay"]][0]
    a, b = np.exp(state.shared[layout["ln_a"]][0]), state.shared[layout["b"]][0]
    rate = 2 * np.pi / (24 * period_days)
    sin, cos = np.sin(rate * (time - t0)), np.cos(rate * (time - t0))
    d = np.sqrt((a * sin) ** 2 + (b * cos) ** 2 + 1e-24)
    front = cos > 0
    near = front & (d < 1 + nodes[-1])
    value, by_k, by_d = (np.zeros((3, *time.shape, 3)) for _ in range(3))
    results = overlap_integrals(torch.from_numpy(d[near])[None], torch.from_numpy(nodes)[:, None])
    for target, result in zip((value, by_k, by_d), results, strict=True):
        target[:, near] = result.numpy()
    slopes = {"ln_a": (a * sin) ** 2 / d, "b": b * cos**2 / d, "t0": -rate * (a * a - b * b) * sin * cos / d}
    raw = {"value": value, "k": by_k} | {name: by_d * slope[None, :, :, None] for name, slope in slopes.items()}
    return {name: np.einsum("jtei,e->ijt", array, w / 2) for name, array in raw.items()}


def _lagrange(radius: Array, nodes: Array) -> Array:
    """Quadratic interpolation weights, (W, 3); exact when the three nodes collapse to one value."""
    weights = np.ones((len(radius), 3))
    for j in range(3):
        for m in range(3):
            if m != j:
                weights[:, j] *= (radius - nodes[m]) / (nodes[j] - nodes[m])
    return weights


def _mix(interpolation: Array, integral: Array) -> Array:
    """(W, 3, 3) x (3, 3, T) -> (W, T)."""
    return interpolation.reshape(len(interpolation), 9) @ integral.reshape(9, -1)


def _linearise(one: Series, layout: Layout, state: State, period_days: float) -> tuple[Array, Array, Array]:
    """Weighted local Jacobian (W, T, 1 + L), design from local to shared (W, L, S), weighted residual (W, T)."""
    model, parts = _channel_model(one, layout, state, period_days)
    root = np.sqrt(one.weight.T)
    flux = one.flux.T
    norm = np.maximum((root**2 * model**2).sum(1), 1e-30)
    level = (root**2 * flux * model).sum(1) / norm
    width, times = model.shape
    order = layout.drift_order
    local = np.empty((width, times, 1 + _GEOMETRY + order))
    radius = np.sqrt(np.maximum(state.depth[one.channels], 1e-8))
    gain = -parts.gain
    local[:, :, 0] = gain * _mix(parts.interpolation, parts.integrals["k"]) / (2 * radius[:, None])
    for column, name in enumerate(("ln_a", "b", "t0"), 1):
        local[:, :, column] = gain * _mix(parts.interpolation, parts.integrals[name])
    for column, slope in enumerate(_limb_slopes(parts.u1, parts.u2), 4):
        local[:, :, column] = gain * _mix(slope[:, :, None] * parts.node_weights[:, None, :], parts.integrals["value"])
    local[:, :, 1 + _GEOMETRY :] = parts.transit[:, :, None] * parts.powers[None]
    local *= (root * level[:, None])[:, :, None]
    unit = root * model / np.sqrt(norm)[:, None]
    local -= unit[:, :, None] * np.matmul(unit[:, None, :], local)  # F0 eliminated
    residual = root * (flux - level[:, None] * model)
    return local, _design(one, layout, state, parts), residual


def _limb_slopes(u1: Array, u2: Array) -> tuple[Array, Array]:
    """Derivatives of `brightness_coefficients` with respect to u1 and u2, each (W, 3)."""
    total = np.pi * (1 - u1 / 3 - u2 / 6)[:, None]
    value = np.stack([1 - u1 - 2 * u2, u1 + 2 * u2, u2], -1)
    by_u1 = np.array([-1.0, 1.0, 0.0]) / total + value * (np.pi / 3) / total**2
    by_u2 = np.array([-2.0, 2.0, 1.0]) / total + value * (np.pi / 6) / total**2
    return by_u1, by_u2


def _design(one: Series, layout: Layout, state: State, parts: _Parts) -> Array:
    """How a channel's local parameters depend on the shared ones, (W, L, S)."""
    width, order = len(parts.u1), layout.drift_order
    design = np.zeros((width, _GEOMETRY + order, len(state.shared)))
    design[:, 0, layout["ln_a"]] = design[:, 1, layout["b"]] = design[:, 2, layout[f"t0_{one.visit}"]] = 1
    fgs1 = one.instrument == FGS1.name
    _, _, basis1, basis2 = _limb_darkening(one, layout, state)
    prefix = "fgs1" if fgs1 else "airs"
    design[:, 3, layout[f"{prefix}_u1"]] = basis1
    design[:, 4, layout[f"{prefix}_u2"]] = basis2
    if fgs1:
        design[:, 2, layout["fgs1_delay"]] = 1
    first = layout[f"{prefix}_drift_{one.visit}"].start
    for a in range(order):
        design[:, _GEOMETRY + a, first + a] = parts.colour
        if not fgs1:
            design[:, _GEOMETRY + a, layout[f"airs_colour_{one.visit}"]] = parts.drift[a] * parts.colour_basis
    return design


def separable_start(
    one: Series, layout: Layout, state: State, period_days: float, depth_sd: float
) -> tuple[Array, Array]:
    """First guess of an AIRS visit's drift: p (order,) and q (colour order + 1,), geometry held at `state`.

    A general drift, any polynomial of time in each power of channel position, is solved linearly with the layout's
    priors and each channel's depth free by `depth_sd`, then reduced to its leading singular pair.
    """
    local, _, residual = _linearise(one, layout, state, period_days)
    _, parts = _channel_model(one, layout, state, period_days)
    columns = local[:, :, [0, *range(1 + _GEOMETRY, local.shape[2])]]  # depth and drift
    gram = np.matmul(columns.transpose(0, 2, 1), columns)
    right = np.matmul(columns.transpose(0, 2, 1), residual[:, :, None])[:, :, 0]
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
