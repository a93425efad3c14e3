"""Light that is lost, or gained, for a while: Gaussians in time that the residuals of a white fit ask for.

A telescope that slips, a star that flares: neither drift nor transit describes it, and both bend to follow it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander

from ..base.products import Array
from .gaussnewton import Fit

WIDTHS_H = tuple(0.04 * 1.4 ** np.arange(7))  # sd of the Gaussians
REACH = 3.0  # widths to either side that are left out
BENDS = 4  # order of the polynomial that a trial has to be seen beside
LEAST_SEEN = 0.1  # share of a trial's norm that transit and drift must leave of it
NONE_SIGMA = 5.0  # the largest of all trials by chance lies below


@dataclass(frozen=True)
class Dip:
    """One Gaussian in time."""

    visit: int
    time_h: float
    width_h: float  # its sd
    sigma: float  # how clear it is: amplitude over the amplitude's error

    @property
    def span_h(self) -> tuple[float, float]:
        """What is to be left out, hours since the visit's start."""
        return self.time_h - REACH * self.width_h, self.time_h + REACH * self.width_h


def dips(fit: Fit, transits: list[Array], most: int = 3) -> list[Dip]:
    """The clearest Gaussians in the residuals of a white fit, at most so many, none over another's centre.

    Args:
        fit: a white fit; instruments of one visit lose the same share of light.
        transits: (T,) of each of its series, 1 outside.
    """
    found: list[Dip] = []
    for visit in {one.visit for one in fit.series}:
        found += _of_visit(fit, transits, visit)
    kept: list[Dip] = []
    for dip in sorted(found, key=lambda one: -one.sigma):
        if all(dip.visit != one.visit or not one.span_h[0] < dip.time_h < one.span_h[1] for one in kept):
            kept.append(dip)
    return kept[:most]


def _of_visit(fit: Fit, transits: list[Array], visit: int) -> Iterator[Dip]:
    members = [
        (one.time_h, np.sqrt(one.weight[:, 0]), residual[:, 0], transit)
        for one, residual, transit in zip(fit.series, fit.system.residuals, transits, strict=True)
        if one.visit == visit and (one.weight > 0).sum() > 2 * BENDS
    ]
    if not members:
        return
    start, end = (pick(one[0][end] for one in members) for pick, end in ((min, 0), (max, -1)))
    seen = [_basis(*one) for one in members]
    for width in WIDTHS_H:
        centres = np.arange(start, end, width / 2)
        signal, norm, whole = np.zeros(len(centres)), np.zeros(len(centres)), np.zeros(len(centres))
        for (time_h, root, residual, transit), basis in zip(members, seen, strict=True):
            trial = root * transit * np.exp(-0.5 * ((time_h - centres[:, None]) / width) ** 2)
            whole += (trial**2).sum(1)
            trial -= (trial @ basis) @ basis.T
            signal += trial @ residual
            norm += (trial**2).sum(1)
        told = norm > LEAST_SEEN * np.maximum(whole, 1e-30)
        sigma = np.where(told, np.abs(signal) / np.sqrt(np.maximum(norm, 1e-30)), 0.0)
        for at in np.argsort(sigma)[::-1][:8]:
            if sigma[at] > NONE_SIGMA:
                yield Dip(visit, float(centres[at]), width, float(sigma[at]))


def _basis(time_h: Array, root: Array, residual: Array, transit: Array) -> Array:
    """Orthonormal columns (T, n) of what the fit could move: drift, depth, mid-transit and duration."""
    tau = 2 * (time_h - time_h[0]) / max(float(time_h[-1] - time_h[0]), 1e-9) - 1
    slope = np.gradient(transit, time_h)
    middle = float((time_h * (1 - transit)).sum() / max(float((1 - transit).sum()), 1e-30))
    moved = np.stack([1 - transit, slope, slope * np.sign(time_h - middle)], axis=1)
    columns = root[:, None] * np.concatenate([legvander(tau, BENDS) * transit[:, None], moved], axis=1)
    columns = columns[:, (columns**2).sum(0) > 0]
    left, values, _ = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), full_matrices=False)
    return left[:, values > 1e-8 * values[0]]
