"""The state that a planet's fit moves through: parameters shared by its light curves, and its 283 depths."""

from dataclasses import dataclass

import numpy as np

from ..base.products import Array
from .limbdarkening import COEFFICIENTS

GAUGE = 1e6  # stiffness, in units of the prior's, of the direction p -> c p, q -> q / c that leaves the drift unchanged


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


def parameter_layout(visits: int, drift_order: int, colour_order: int) -> Layout:
    """State vector of a planet with neutral priors; `whitefit.layout_for` sets the planet's own means and widths."""
    sizes = {"ln_a": 1, "b": 1, "fgs1_delay": 1, "limb": len(COEFFICIENTS)}
    for visit in range(visits):
        sizes |= {f"t0_{visit}": 1, f"fgs1_drift_{visit}": drift_order}
        sizes |= {f"airs_drift_{visit}": drift_order, f"airs_colour_{visit}": colour_order + 1}
        if colour_order:  # of a white light curve there is no second term to be told from the first
            sizes |= {f"airs_second_{visit}": drift_order * (colour_order + 1)}
    names, start = {}, 0
    for name, size in sizes.items():
        names[name] = slice(start, start + size)
        start += size
    limb = np.zeros(len(COEFFICIENTS)), np.eye(len(COEFFICIENTS))
    return Layout(names, np.zeros(start), np.ones(start), *limb, drift_order, colour_order)


def limb_coefficients(layout: Layout, shared: Array) -> Array:
    """The seven coefficients of `limbdarkening` at a point, (7,)."""
    return layout.limb_mean + layout.limb_root @ shared[layout["limb"]]


def balanced(layout: Layout, shared: Array) -> Array:
    """The same drift with p and q of each AIRS visit equally far from zero in units of their priors, (S,).

    p -> c p, q -> q / c leaves the drift as it is: of all c the priors like this one most.
    """
    found = shared.copy()
    for p, q in _drifts(layout):
        far_p, far_q = (float(np.linalg.norm(shared[part] / layout.sd[part])) for part in (p, q))
        if far_p > 0 and far_q > 0:
            scale = np.sqrt(far_q / far_p)
            found[p], found[q] = shared[p] * scale, shared[q] / scale
    return found


def gauge(layout: Layout, shared: Array) -> Array:
    """Unit vectors (n, S), in units of the priors, along which p and q of an AIRS drift only exchange their scale."""
    directions = np.zeros((len(_drifts(layout)), len(shared)))
    for direction, (p, q) in zip(directions, _drifts(layout), strict=True):
        direction[p], direction[q] = shared[p] / layout.sd[p], -shared[q] / layout.sd[q]
        direction /= np.linalg.norm(direction) + 1e-12
    return directions


def _drifts(layout: Layout) -> list[tuple[slice, slice]]:
    """Where p and q of each separable drift are; none for a white light curve."""
    if layout.colour_order == 0:
        return []
    names = [name for name in layout.names if name.startswith("airs_drift")]
    return [(layout[name], layout[name.replace("drift", "colour")]) for name in names]
