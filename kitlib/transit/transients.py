"""What passes during a visit: light lost or gained for a while, or from some moment on.

A telescope that slips, a star that flares or shows a spot, a detector whose gain jumps: neither drift nor transit
describes it, and both bend to follow it. Each is one shape in time that the residuals of a white fit ask for. A dip is
left out, whatever its shape was; a step leaves no moment untouched and is taken away, its error being the depth's. What
has no such shape is red noise: `red_error` is what it does to a depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.linalg import solve_triangular

from ..base.products import Array
from .gaussnewton import Fit

DIP, STEP = "dip", "step"
DIP_WIDTHS_H = tuple(0.04 * 1.4 ** np.arange(7))  # sd of Gaussians
STEP_EVERY_H, STEP_MARGIN_H = 0.04, 0.15
REACH = 3.0  # widths to either side of a dip that are left out
BENDS = 5  # order of the polynomial that a trial has to be seen beside, as the drift of the fit has
LEAST_SEEN = 0.003  # share of a trial's norm that transit and drift must leave of it
NONE_SIGMA = 5.5  # the largest of all trials by chance lies below
# Red noise forgets itself exponentially in one of these times, and has one of these sd over the white noise's
RED_TIMES_H = tuple(0.05 * 2.0 ** np.arange(6))
RED_SIZES = (0.0, 0.1, 0.2, 0.35, 0.6, 1.0, 1.6, 2.5)


@dataclass(frozen=True)
class Transient:
    """One shape in time."""

    kind: str
    visit: int
    time_h: float  # a dip's middle, a step's moment
    width_h: float  # a dip's sd; 0 for a step
    sigma: float  # how clear it is, over all instruments: amplitude over its error
    size: dict[str, float]  # instrument name -> relative amplitude of the light
    depth_error: dict[str, float]  # instrument name -> relative error of the depth, the size being known so well

    @property
    def span_h(self) -> tuple[float, float]:
        """What of a dip is to be left out, hours since the visit's start."""
        return self.time_h - REACH * self.width_h, self.time_h + REACH * self.width_h

    def light(self, instrument: str, time_h: Array) -> Array:
        """(T,) light with it over light without it."""
        course = _course(self.kind, time_h, np.array([self.time_h]), self.width_h)[0]
        return 1 + self.size.get(instrument, 0.0) * course

    def in_words(self) -> str:
        """What is done about it."""
        if self.kind == DIP:
            return "without {:.2f} to {:.2f} h".format(*self.span_h)
        ppm = " and ".join(f"{size * 1e6:.0f} ppm in {name}" for name, size in self.size.items())
        return f"less a {self.kind} of {ppm} at {self.time_h:.2f} h"


def transients(fit: Fit, transits: list[Array], most: int = 3) -> list[Transient]:
    """The clearest shapes in the residuals of a white fit, at most so many, none near another.

    Args:
        fit: a white fit.
        transits: (T,) of each of its series, 1 outside.
    """
    found: list[Transient] = []
    for visit in {one.visit for one in fit.series}:
        found += _of_visit(fit, transits, visit)
    kept: list[Transient] = []
    for one in sorted(found, key=lambda each: -each.sigma):
        if all(one.visit != other.visit or abs(one.time_h - other.time_h) > REACH * other.width_h for other in kept):
            kept.append(one)
    return kept[:most]


def _course(kind: str, time_h: Array, at_h: Array, width_h: float) -> Array:
    """(n, T) of shapes at `at_h` (n,)."""
    since = time_h - at_h[:, None]
    if kind == DIP:
        return np.exp(-0.5 * (since / width_h) ** 2)
    return (since > 0).astype(np.float64)


def _of_visit(fit: Fit, transits: list[Array], visit: int) -> Iterator[Transient]:
    members = [
        (one.instrument, one.time_h, np.sqrt(one.weight[:, 0]), residual[:, 0], transit)
        for one, residual, transit in zip(fit.series, fit.system.residuals, transits, strict=True)
        if one.visit == visit and (one.weight > 0).sum() > 2 * BENDS
    ]
    if not members:
        return
    start, end = (pick(one[1][end] for one in members) for pick, end in ((min, 0), (max, -1)))
    bases = [_Basis(*one[1:3], one[4]) for one in members]
    steps = np.arange(start + STEP_MARGIN_H, end - STEP_MARGIN_H, STEP_EVERY_H)
    families = [(DIP, width, np.arange(start, end, width / 2)) for width in DIP_WIDTHS_H]
    families.append((STEP, 0.0, steps))
    names = [one[0] for one in members]
    shapes, sizes, shifts, errors, clear = [], [], [], [], []
    for kind, width, at in families:
        signal, norm, lean = np.zeros((3, len(members), len(at)))
        for m, ((_, time_h, root, residual, transit), basis) in enumerate(zip(members, bases, strict=True)):
            trial = root * transit * _course(kind, time_h, at, width)
            whole = (trial**2).sum(1)
            lean[m] = trial @ basis.depth
            trial -= (trial @ basis.columns) @ basis.columns.T
            signal[m], norm[m] = trial @ residual, (trial**2).sum(1)
            norm[m] = np.where(norm[m] > LEAST_SEEN * np.maximum(whole, 1e-30), norm[m], np.inf)
        shapes += [(kind, float(time), width) for time in at]
        sizes.append(signal / norm)
        shifts.append(lean * signal / norm)
        errors.append(lean / np.sqrt(norm))
        clear.append((signal**2 / norm).sum(0))
    size, shift, error, chi2 = (np.concatenate(each, axis=-1) for each in (sizes, shifts, errors, clear))
    # how far off the depth is, were it another of the shapes that explain the light nearly as well
    weight = np.exp(0.5 * (chi2 - chi2.max()))
    weight /= weight.sum()
    for best in np.argsort(chi2)[::-1][:60]:
        if chi2[best] > NONE_SIGMA**2:
            off = np.sqrt(((error**2 + (shift - shift[:, best, None]) ** 2) * weight).sum(1))
            kind, time, width = shapes[best]
            yield Transient(
                kind,
                visit,
                time,
                width,
                float(np.sqrt(chi2[best])),
                dict(zip(names, size[:, best].tolist(), strict=True)),
                dict(zip(names, off.tolist(), strict=True)),
            )


class _Basis:
    """What the fit of a white series could move: drift, depth, mid-transit and duration."""

    def __init__(self, time_h: Array, root: Array, transit: Array):
        tau = 2 * (time_h - time_h[0]) / max(float(time_h[-1] - time_h[0]), 1e-9) - 1
        slope = np.gradient(transit, time_h)
        middle = float((time_h * (1 - transit)).sum() / max(float((1 - transit).sum()), 1e-30))
        moved = np.stack([slope, slope * np.sign(time_h - middle)], axis=1)
        others = self._orthonormal(root[:, None] * np.concatenate([legvander(tau, BENDS) * transit[:, None], moved], 1))
        dip = root * (1 - transit)
        alone = dip - others @ (others.T @ dip)
        norm = float(alone @ alone)
        told = norm > 1e-8 * float(dip @ dip) > 0
        # (T,): times a series, the relative depth by which the fit follows it
        self.depth = alone / norm if told else np.zeros(len(dip))
        self.columns = np.concatenate([others, alone[:, None] / np.sqrt(norm)], 1) if told else others  # (T, n)

    @staticmethod
    def _orthonormal(columns: Array) -> Array:
        columns = columns[:, (columns**2).sum(0) > 0]
        left, values, _ = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), full_matrices=False)
        return left[:, values > 1e-8 * values[0]]


def red_error(time_h: Array, root: Array, residual: Array, transit: Array) -> float:
    """Relative error of the depth by red noise in the residuals, averaged over its size and memory by their likelihood.

    What the fit has taken up of it counts: the likelihood is restricted to what the fit could not move (Patterson and
    Thompson 1971).

    Args:
        time_h, root, residual, transit: (T,) of a white series; `root` of its weights, `residual` in sigma.
    """
    used = root > 0
    if used.sum() < 20:
        return 0.0
    time_h, root, residual, transit = time_h[used], root[used], residual[used], transit[used]
    basis = _Basis(time_h, root, transit)
    white = max(float(np.median(np.diff(residual) ** 2)) / (2 * 0.4549), 1e-6)  # median of chi2 with one degree
    apart = np.abs(time_h[:, None] - time_h)
    size = (root / np.median(root))[:, None] * (root / np.median(root))
    logs, variances = [], []
    for memory in RED_TIMES_H:
        red = size * np.exp(-apart / memory)
        lean = float(basis.depth @ red @ basis.depth)
        for over in RED_SIZES:
            factor = np.linalg.cholesky(white * (np.eye(len(root)) + over**2 * red))
            right = solve_triangular(factor, np.column_stack([basis.columns, residual]), lower=True)
            moved, rest = right[:, :-1], right[:, -1]
            gram = moved.T @ moved
            left = float(rest @ rest) - float(rest @ moved @ np.linalg.solve(gram, moved.T @ rest))
            logs.append(-float(np.log(np.diag(factor)).sum()) - 0.5 * float(np.linalg.slogdet(gram)[1]) - 0.5 * left)
            variances.append(white * over**2 * lean)
    weight = np.exp(np.array(logs) - max(logs))
    return float(np.sqrt(weight @ np.array(variances) / weight.sum()))
