"""One channel's light curve, star x gain drift x limb-darkened transit, and its normal equations at a state.

The transit is interpolated between a few radius ratios, at which the overlap integrals and their derivatives are
computed once for all channels. Letters as in `visitmodel`; J radius nodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander

from ..base.compiled import compiled_sums, dot
from ..base.instruments import FGS1
from ..base.products import Array
from .flux import brightness_coefficients, exposed_integrals
from .limbdarkening import COEFFICIENTS
from .parameters import Layout, State, limb_coefficients
from .series import Series

GEOMETRY = 5  # local columns between the depth and the drift: ln a/Rs, b, t0, u1, u2
_EXPOSURE_NODES = np.polynomial.legendre.leggauss(2)  # samples are short against ingress


@dataclass(frozen=True)
class Parts:
    """Factors of a channel's model and of its derivatives."""

    interpolation: Array  # (W, 3, 3, J): value and derivatives by u1, u2, of limb coefficient n times weight of node j
    integrals: Array  # (5, 3 integrals, J, T): value, and derivatives by k, ln a/Rs, b, t0; J = 1 for a single channel
    u1: Array  # (W,)
    u2: Array
    powers: Array  # (T, order) of time
    drift: Array  # (order,) coefficients of p
    colour: Array  # (W,) q
    colour_basis: Array  # (W, colour order + 1)
    polynomial: Array  # (W, order) coefficients of the gain in each channel: p times q, and the second term

    @property
    def gain(self) -> Array:
        """Drift of the gain, (W, T)."""
        return 1 + self.polynomial @ self.powers.T

    @property
    def transit(self) -> Array:
        """Relative flux during the transit, (W, T)."""
        return 1 - np.tensordot(self.interpolation[:, 0], self.integrals[0], 2)


def _limb_bases(one: Series) -> tuple[Array, Array]:
    """How u1 and u2 of each channel follow from the seven coefficients, two (W, 7)."""
    first, second = np.zeros((2, len(one.position), len(COEFFICIENTS)))
    if one.instrument == FGS1.name:
        first[:, 0] = second[:, 1] = 1
    else:
        basis = legvander(one.position, 2)
        first[:, 2:5], second[:, 5:7] = basis, basis[:, :2]
    return first, second


def channel_parts(one: Series, layout: Layout, state: State, period_days: float) -> Parts:
    """The factors of all channels of a series at a state."""
    fgs1 = one.instrument == FGS1.name
    u1, u2 = (basis @ limb_coefficients(layout, state.shared) for basis in _limb_bases(one))
    radius = np.sqrt(np.maximum(state.depth[one.channels], 1e-8))
    centre, spread = radius.mean(), max(float(np.ptp(radius)), 1e-3 * float(radius.mean()))
    steps = np.array([-1.0, 0.0, 1.0]) if len(radius) > 1 else np.zeros(1)
    nodes = np.clip(centre + spread * steps, 1e-4, 0.95)
    weights = _lagrange(radius, nodes)
    brightness = np.moveaxis(np.array(brightness_coefficients(u1, u2)), -1, 0)  # (W, 3, 3)
    tau = one.time_h / max(one.time_h[-1], 1e-9) * 2 - 1
    if fgs1:
        drift, basis = state.shared[layout[f"fgs1_drift_{one.visit}"]], np.ones((1, 1))
        colour = np.ones(1)
    else:
        drift = state.shared[layout[f"airs_drift_{one.visit}"]]
        basis = np.vander(np.asarray(one.position, np.float64), layout.colour_order + 1, increasing=True)
        colour = basis @ state.shared[layout[f"airs_colour_{one.visit}"]]
    polynomial = colour[:, None] * drift
    if (name := f"airs_second_{one.visit}") in layout.names and not fgs1:
        polynomial = polynomial + basis @ state.shared[layout[name]].reshape(layout.drift_order, -1).T
    return Parts(
        interpolation=brightness[..., None] * weights[:, None, None],
        integrals=_integrals(one, layout, state, period_days, nodes),
        u1=u1,
        u2=u2,
        powers=np.vander(tau, layout.drift_order + 1, increasing=True)[:, 1:],
        drift=drift,
        colour=colour,
        colour_basis=basis,
        polynomial=polynomial,
    )


def _integrals(one: Series, layout: Layout, state: State, period_days: float, nodes: Array) -> Array:
    """Overlap integrals and their derivatives at J radius ratios, averaged over each exposure; (5, 3, J, T)."""
    x, w = _EXPOSURE_NODES
    time = one.time_h[:, None] + x / 2 * one.exposure_h
    t0 = state.shared[layout[f"t0_{one.visit}"]][0]
    if one.instrument == FGS1.name:
        t0 = t0 + state.shared[layout["fgs1_delay"]][0]
    a, b = np.exp(state.shared[layout["ln_a"]][0]), state.shared[layout["b"]][0]
    rate = 2 * np.pi / (24 * period_days)
    sin, cos = np.sin(rate * (time - t0)), np.cos(rate * (time - t0))
    d = np.sqrt((a * sin) ** 2 + (b * cos) ** 2 + 1e-24)
    d = np.where(cos > 0, d, np.inf)  # behind the star
    slopes = np.stack([(a * sin) ** 2 / d, b * cos**2 / d, -rate * (a * a - b * b) * sin * cos / d])
    return exposed_integrals(d, slopes, w / 2, nodes)


def _lagrange(radius: Array, nodes: Array) -> Array:
    """Weights of polynomial interpolation between the nodes, (W, J)."""
    weights = np.ones((len(radius), len(nodes)))
    for j in range(len(nodes)):
        for m in range(len(nodes)):
            if m != j:
                weights[:, j] *= (radius - nodes[m]) / (nodes[j] - nodes[m])
    return weights


def linearise(one: Series, layout: Layout, state: State, period_days: float) -> tuple[Array, Array, Array, Array]:
    """Each channel's normal equations in its local parameters (column 0 the depth), its level F0 eliminated.

    Returns gram (W, 1 + L, 1 + L), right side (W, 1 + L), weighted residuals (W, T), and the design that leads from
    local to shared parameters (W, L, S).
    """
    parts = channel_parts(one, layout, state, period_days)
    width, size = len(parts.colour), 1 + GEOMETRY + layout.drift_order
    factors = parts.interpolation.reshape(width, 3, -1)
    integrals = np.ascontiguousarray(parts.integrals.reshape(5, factors.shape[2], -1).swapaxes(0, 1))
    flux, weight = (np.ascontiguousarray(array.T) for array in (one.flux, one.weight))
    gram, right, residual = np.empty((width, size, size)), np.empty((width, size)), np.empty(flux.shape)
    radius, powers = np.sqrt(np.maximum(state.depth[one.channels], 1e-8)), np.ascontiguousarray(parts.powers.T)
    _channel_systems(flux, weight, radius, parts.polynomial, powers, factors, integrals, gram, right, residual)
    return gram, right, residual, _design(one, layout, state, parts)


@compiled_sums
def _channel_systems(flux, weight, radius, polynomial, powers, factors, integrals, gram, right, residual):
    """Fill `gram`, `right` and `residual` channel by channel: the rows of one channel's Jacobian fit into the cache.

    flux, weight (W, T); radius (W,); polynomial (W, n) of powers (n, T) of time; factors (W, 3, 3 J) of the integrals
    (3 J, 5, T): their value and its derivatives by u1, u2; integrals: value, derivatives by k, ln a/Rs, b, t0.
    """
    width, times = flux.shape
    order = len(powers)
    size = 6 + order
    rows = np.empty((size + 2, times))  # depth, ln a/Rs, b, t0, u1, u2, drift; model over its norm; residual
    along, hidden, moved = np.empty(size), np.empty((3, times)), np.empty((4, times))
    value, slopes = np.ascontiguousarray(integrals[:, 0]), integrals[:, 1:].copy().reshape(-1, 4 * times)
    course, transit, root = np.empty(times), np.empty(times), np.empty(times)
    for w in range(width):
        course[:] = 1
        for n in range(order):
            for t in range(times):
                course[t] += polynomial[w, n] * powers[n, t]
        np.dot(factors[w], value, hidden)
        np.dot(factors[w, 0], slopes, moved.reshape(-1))
        for t in range(times):  # loops in time are written out: array expressions would allocate
            transit[t] = 1 - hidden[0, t]
            root[t] = np.sqrt(weight[w, t])
            rows[size, t] = root[t] * course[t] * transit[t]
            rows[size + 1, t] = root[t] * flux[w, t]
        norm = max(dot(rows[size], rows[size]), 1e-30)
        level = dot(rows[size], rows[size + 1]) / norm
        over_norm = 1 / np.sqrt(norm)
        for t in range(times):
            rows[size + 1, t] -= level * rows[size, t]
            rows[size, t] *= over_norm
            root[t] *= level
        for column in range(6):
            slope = moved[column] if column < 4 else hidden[column - 3]
            by = -0.5 / radius[w] if column == 0 else -1.0
            for t in range(times):
                rows[column, t] = by * root[t] * course[t] * slope[t]
        for n in range(order):
            for t in range(times):
                rows[6 + n, t] = root[t] * transit[t] * powers[n, t]
        for a in range(size):  # symmetric, of few long rows: a library's matrix product takes twice the time
            along[a] = dot(rows[a], rows[size])
            right[w, a] = dot(rows[a], rows[size + 1])
            for b in range(a + 1):  # F0 eliminated: less the part along the model
                gram[w, a, b] = gram[w, b, a] = dot(rows[a], rows[b]) - along[a] * along[b]
        residual[w] = rows[size + 1]


def _design(one: Series, layout: Layout, state: State, parts: Parts) -> Array:
    """How a channel's local parameters depend on the shared ones, (W, L, S)."""
    width, order = len(parts.u1), layout.drift_order
    design = np.zeros((width, GEOMETRY + order, len(state.shared)))
    design[:, 0, layout["ln_a"]] = design[:, 1, layout["b"]] = design[:, 2, layout[f"t0_{one.visit}"]] = 1
    fgs1 = one.instrument == FGS1.name
    for column, basis in enumerate(_limb_bases(one), 3):
        design[:, column, layout["limb"]] = basis @ layout.limb_root
    if fgs1:
        design[:, 2, layout["fgs1_delay"]] = 1
    prefix = "fgs1" if fgs1 else "airs"
    first = layout[f"{prefix}_drift_{one.visit}"].start
    for a in range(order):
        design[:, GEOMETRY + a, first + a] = parts.colour
        if not fgs1:
            design[:, GEOMETRY + a, layout[f"airs_colour_{one.visit}"]] = parts.drift[a] * parts.colour_basis
    if (name := f"airs_second_{one.visit}") in layout.names and not fgs1:
        second, colours = layout[name].start, parts.colour_basis.shape[1]
        for a in range(order):
            design[:, GEOMETRY + a, second + a * colours : second + (a + 1) * colours] = parts.colour_basis
    return design
