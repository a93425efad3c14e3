"""The state that a planet's fit moves through: parameters shared by its light curves, and its 283 depths."""

from dataclasses import dataclass

import numpy as np

from .limbdarkening import COEFFICIENTS
from .products import Array


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


def limb_coefficients(layout: Layout, shared: Array) -> Array:
    """The seven coefficients of `limbdarkening` at a point, (7,)."""
    return layout.limb_mean + layout.limb_root @ shared[layout["limb"]]
