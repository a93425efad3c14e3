"""Model of one planet's visits, star x gain drift x limb-darkened transit, linearised around a state.

For channel c (FGS1, or one AIRS bin, or AIRS white) of visit v:

    flux(t) = F0_cv * (1 + p_v(tau) q_v(x_c)) * T(t; depth_c, a/Rs, b, t0_v, u1_c, u2_c)

The drift is separable: p a polynomial of time without constant term, q one of channel position (1 for FGS1), both in
powers of a variable scaled to [-1, 1]. Its colour therefore tells its shape in time, which a white light curve cannot
separate from the transit. F0 is eliminated exactly (variable projection); every other derivative is analytic, so that a
Gauss-Newton step costs a few milliseconds.

Array letters: W channels, T time samples, L local columns of a channel (ln a/Rs, b, t0, u1, u2, tau..tau^n), S shared
parameters. Limb darkening: `limbdarkening`, in units of its prior.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.polynomial.legendre import legvander

from .compiled import compiled
from .instruments import FGS1
from .limbdarkening import COEFFICIENTS
from .products import Array
from .series import Series
from .transit import brightness_coefficients, overlap_integrals

_EXPOSURE_NODES = np.polynomial.legendre.leggauss(2)  # samples are short against ingress
_GEOMETRY = 5  # local columns before the drift: ln a/Rs, b, t0, u1, u2


@dataclass(frozen=True)
class Layout:
    """Where each shared parameter sits in the state vector, and its Gaussian prior."""

    names: dict[str, slice]
    mean: Array  # (S,)
    sd: Array  # (S,)
    limb_mean: Array  # (7,) limb darkening is limb_mean + limb_root @ shared["limb"]
    limb_root: Array  # (7, 7)
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
    sizes = {"ln_a": 1, "b": 1, "fgs1_delay": 1, "limb": len(COEFFICIENTS)}
    for visit in range(visits):
        sizes |= {f"t0_{visit}": 1, f"fgs1_drift_{visit}": drift_order}
        sizes |= {f"airs_drift_{visit}": drift_order, f"airs_colour_{visit}": colour_order + 1}
    names, start = {}, 0
    for name, size in sizes.items():
        names[name] = slice(start, start + size)
        start += size
    limb = np.zeros(len(COEFFICIENTS)), np.eye(len(COEFFICIENTS))
    return Layout(names, np.zeros(start), np.ones(start), *limb, drift_order, colour_order)


def normal_equations(series: list[Series], layout: Layout, state: State, period_days: float) -> NormalEquations:
    """Linearise all series at `state`."""
    size, channels = len(state.shared), len(state.depth)
    shared, cross = np.zeros((size, size)), np.zeros((channels, size))
    depth, gradient_shared, gradient_depth = np.zeros(channels), np.zeros(size), np.zeros(channels)
    chi2, samples, residuals = 0.0, 0, []
    for one in series:
        gram, right, residual, design = _linearise(one, layout, state, period_days)
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


def model_flux(one: Series, layout: Layout, state: State, period_days: float) -> Array:
    """Fitted flux of a series in its own unit, (T, W)."""
    parts = _parts(one, layout, state, period_days)
    model = parts.gain * parts.transit
    return (_star(one, model)[:, None] * model).T


def star_flux(one: Series, layout: Layout, state: State, period_days: float) -> Array:
    """Fitted flux of the star, without planet and drift, in the series' own unit, (W,)."""
    parts = _parts(one, layout, state, period_days)
    return _star(one, parts.gain * parts.transit)


def _star(one: Series, model: Array) -> Array:
    """The level that fits best beside `model` (W, T), (W,)."""
    flux, weight = one.flux.T, one.weight.T
    return (weight * flux * model).sum(1) / np.maximum((weight * model**2).sum(1), 1e-30)


@dataclass(frozen=True)
class _Parts:
    """Factors of a channel's model and of its derivatives."""

    interpolation: Array  # (W, 3, J): limb coefficient n times weight of radius node j; J = 1 for a single channel
    integrals: dict[str, Array]  # "value", "k", "ln_a", "b", "t0" -> (3 integrals, J, T)
    node_weights: Array  # (W, J)
    u1: Array  # (W,)
    u2: Array
    powers: Array  # (T, order) of time
    drift: Array  # (order,) coefficients of p
    colour: Array  # (W,) q
    colour_basis: Array  # (W, colour order + 1)

    @property
    def gain(self) -> Array:
        """Drift of the gain, (W, T)."""
        return 1 + self.colour[:, None] * (self.powers @ self.drift)

    @property
    def transit(self) -> Array:
        """Relative flux during the transit, (W, T)."""
        return 1 - np.tensordot(self.interpolation, self.integrals["value"], 2)


def limb_coefficients(layout: Layout, shared: Array) -> Array:
    """The seven coefficients of `limbdarkening` at a point, (7,)."""
    return layout.limb_mean + layout.limb_root @ shared[layout["limb"]]


def _limb_bases(one: Series) -> tuple[Array, Array]:
    """How u1 and u2 of each channel follow from the seven coefficients, two (W, 7)."""
    first, second = np.zeros((2, len(one.position), len(COEFFICIENTS)))
    if one.instrument == FGS1.name:
        first[:, 0] = second[:, 1] = 1
    else:
        basis = legvander(one.position, 2)
        first[:, 2:5], second[:, 5:7] = basis, basis[:, :2]
    return first, second


def _parts(one: Series, layout: Layout, state: State, period_days: float) -> _Parts:
    fgs1 = one.instrument == FGS1.name
    u1, u2 = (basis @ limb_coefficients(layout, state.shared) for basis in _limb_bases(one))
    radius = np.sqrt(np.maximum(state.depth[one.channels], 1e-8))
    centre, spread = radius.mean(), max(float(np.ptp(radius)), 1e-3 * float(radius.mean()))
    steps = np.array([-1.0, 0.0, 1.0]) if len(radius) > 1 else np.zeros(1)
    nodes = np.clip(centre + spread * steps, 1e-4, 0.95)
    weights = _lagrange(radius, nodes)
    coefficients = brightness_coefficients(
        torch.from_numpy(np.atleast_1d(u1)), torch.from_numpy(np.atleast_1d(u2))
    ).numpy()
    tau = one.time_h / max(one.time_h[-1], 1e-9) * 2 - 1
    if fgs1:
        drift, basis = state.shared[layout[f"fgs1_drift_{one.visit}"]], np.ones((1, 1))
        colour = np.ones(1)
    else:
        drift = state.shared[layout[f"airs_drift_{one.visit}"]]
        basis = np.vander(one.position, layout.colour_order + 1, increasing=True)
        colour = basis @ state.shared[layout[f"airs_colour_{one.visit}"]]
    return _Parts(
        interpolation=coefficients[:, :, None] * weights[:, None, :],
        integrals=_integrals(one, layout, state, period_days, nodes),
        node_weights=weights,
        u1=u1,
        u2=u2,
        powers=np.vander(tau, layout.drift_order + 1, increasing=True)[:, 1:],
        drift=drift,
        colour=colour,
        colour_basis=basis,
    )


def _integrals(one: Series, layout: Layout, state: State, period_days: float, nodes: Array) -> dict[str, Array]:
    """Overlap integrals and their derivatives at J radius ratios, averaged over each exposure; (3 integrals, J, T)."""
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
    value, by_k, by_d = (np.zeros((len(nodes), *time.shape, 3)) for _ in range(3))
    results = overlap_integrals(torch.from_numpy(d[near])[None], torch.from_numpy(nodes)[:, None])
    for target, result in zip((value, by_k, by_d), results, strict=True):
        target[:, near] = result.numpy()
    slopes = {"ln_a": (a * sin) ** 2 / d, "b": b * cos**2 / d, "t0": -rate * (a * a - b * b) * sin * cos / d}
    raw = {"value": value, "k": by_k} | {name: by_d * slope[None, :, :, None] for name, slope in slopes.items()}
    return {name: np.einsum("jtei,e->ijt", array, w / 2) for name, array in raw.items()}


def _lagrange(radius: Array, nodes: Array) -> Array:
    """Weights of polynomial interpolation between the nodes, (W, J)."""
    weights = np.ones((len(radius), len(nodes)))
    for j in range(len(nodes)):
        for m in range(len(nodes)):
            if m != j:
                weights[:, j] *= (radius - nodes[m]) / (nodes[j] - nodes[m])
    return weights


def _linearise(one: Series, layout: Layout, state: State, period_days: float) -> tuple[Array, Array, Array, Array]:
    """Each channel's normal equations in its local parameters (column 0 the depth), its level F0 eliminated.

    Returns gram (W, 1 + L, 1 + L), right side (W, 1 + L), weighted residuals (W, T), and the design that leads from
    local to shared parameters (W, L, S).
    """
    parts = _parts(one, layout, state, period_days)
    width, size = len(parts.colour), 1 + _GEOMETRY + layout.drift_order
    slopes = [slope[:, :, None] * parts.node_weights[:, None, :] for slope in _limb_slopes(parts.u1, parts.u2)]
    factors = np.stack([parts.interpolation, *slopes]).reshape(3, width, -1)
    integrals = np.stack([parts.integrals[name] for name in ("value", "k", "ln_a", "b", "t0")])
    integrals = integrals.reshape(5, factors.shape[2], -1)
    flux, weight = (np.ascontiguousarray(array.T) for array in (one.flux, one.weight))
    gram, right, residual = np.empty((width, size, size)), np.empty((width, size)), np.empty(flux.shape)
    radius, powers = np.sqrt(np.maximum(state.depth[one.channels], 1e-8)), np.ascontiguousarray(parts.powers.T)
    _channel_systems(flux, weight, radius, parts.colour, parts.drift, powers, factors, integrals, gram, right, residual)
    return gram, right, residual, _design(one, layout, state, parts)


@compiled
def _channel_systems(flux, weight, radius, colour, drift, powers, factors, integrals, gram, right, residual):
    """Fill `gram`, `right` and `residual` channel by channel: the rows of one channel's Jacobian fit into the cache.

    flux, weight (W, T); radius, colour (W,); drift (n,); powers (n, T) of time; factors (3, W, 3 J) of the integrals
    (5, 3 J, T): value, and derivatives by k, ln a/Rs, b, t0.
    """
    width, times = flux.shape
    order = len(drift)
    size = 6 + order
    rows = np.empty((size + 2, times))  # depth, ln a/Rs, b, t0, u1, u2, drift; model over its norm; residual
    course, gain, transit, root = np.zeros(times), np.empty(times), np.empty(times), np.empty(times)
    for n in range(order):
        course += drift[n] * powers[n]
    for w in range(width):
        rows[:6] = 0.0
        transit[:] = 1.0
        for j in range(factors.shape[2]):  # loops in time are written out: array expressions would allocate
            value, by_u1, by_u2 = factors[0, w, j], factors[1, w, j], factors[2, w, j]
            for t in range(times):
                transit[t] -= value * integrals[0, j, t]
                rows[4, t] -= by_u1 * integrals[0, j, t]
                rows[5, t] -= by_u2 * integrals[0, j, t]
            for column in range(4):
                for t in range(times):
                    rows[column, t] -= value * integrals[column + 1, j, t]
        for t in range(times):
            root[t] = np.sqrt(weight[w, t])
            gain[t] = 1 + colour[w] * course[t]
            rows[size, t] = root[t] * gain[t] * transit[t]
            rows[size + 1, t] = root[t] * flux[w, t]
        norm = max(np.dot(rows[size], rows[size]), 1e-30)
        level = np.dot(rows[size], rows[size + 1]) / norm
        over_norm, by_depth = 1 / np.sqrt(norm), 0.5 / radius[w]
        for t in range(times):
            rows[size + 1, t] -= level * rows[size, t]
            rows[size, t] *= over_norm
            root[t] *= level
            rows[0, t] *= by_depth
        for column in range(6):
            for t in range(times):
                rows[column, t] *= root[t] * gain[t]
        for n in range(order):
            for t in range(times):
                rows[6 + n, t] = root[t] * transit[t] * powers[n, t]
        product = np.dot(rows, rows.T)
        for a in range(size):
            right[w, a] = product[a, size + 1]
            for b in range(size):  # F0 eliminated: less the part along the model
                gram[w, a, b] = product[a, b] - product[a, size] * product[b, size]
        residual[w] = rows[size + 1]


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
    for column, basis in enumerate(_limb_bases(one), 3):
        design[:, column, layout["limb"]] = basis @ layout.limb_root
    if fgs1:
        design[:, 2, layout["fgs1_delay"]] = 1
    prefix = "fgs1" if fgs1 else "airs"
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
    gram, right, _, _ = _linearise(one, layout, state, period_days)
    parts = _parts(one, layout, state, period_days)
    kept = [0, *range(1 + _GEOMETRY, gram.shape[1])]  # depth and drift
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
