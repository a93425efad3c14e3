"""Grazing orbits: where the planet's disc never lies wholly on the star's, depth and impact parameter trade places.

A light curve then fixes how much light is lost, not how large the planet is: a large planet far out and a small one
further in lose the same. That valley is curved and open to one side, no Gaussian around its lowest point describes it.
`profile` walks along it: white fits with the impact parameter held, each weighed by its evidence and by how common its
depth is. The joint fit then holds the mean impact parameter, and `widened` moves and widens its answer by the rest.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..base.products import Array
from .gaussnewton import Fit, FitError, gauss_newton
from .parameters import Layout, State
from .whitefit import FIXED, IMPACT_SD, log_evidence, posterior_precision

INSIDE = 0.98  # of b + k, up to which the planet's whole disc surely crosses the star's
UNLIKELY = 4.0  # standard deviations of ln depth below the prior's: so small a planet is one that hardly grazes
COARSEST = 0.02  # step in the impact parameter; finer where a white fit knows it well
MOST_STEPS = 45  # from the white fit to either side
LEAST_IMPACT = 0.3  # that is looked at
NEGLIGIBLE = 8.0  # ln of a weight below the largest one's, at which the walk ends
ITERATIONS = 8
MUCH_WORSE = 16.0  # chi2 above that of a white fit without such an orbit: a small planet that does not graze


@dataclass(frozen=True)
class Profile:
    """What a white light curve says of the depth over all impact parameters."""

    white: Fit  # with the impact parameter held at its mean
    impact: float
    shift: float  # mean depth over the depth of `white`
    error: float  # relative, of the depth: what `white` does not know of it

    def widened(self, mean: Array, cov: Array) -> tuple[Array, Array]:
        """An answer (283,), (283, 283) given `impact`, for whatever the impact parameter is: FGS1 and AIRS alike."""
        moved = self.shift * mean
        return moved, self.shift**2 * cov + self.error**2 * np.outer(moved, moved)


def grazes(white: Fit) -> bool:
    """Whether the planet's disc lies on the star's limb even at mid-transit, as far as a white fit can tell."""
    return abs(_impact(white)) + float(np.sqrt(_depth(white))) > INSIDE or _unseen(white)


def profile(white: Fit, period_days: float) -> Profile | None:
    """Walk along impact parameters around a white fit; None where no grazing orbit describes the light curve as well.

    Raises FitError where no point of the walk can be fitted.
    """
    least, white = white.system.chi2 + MUCH_WORSE, _opened(white)
    start, before = abs(_impact(white)), white.state
    if _unseen(white):
        start, before = max(start, 1.0), replace(white.state, depth=white.depth_mean)
    step = min(_sd(white)[1] / 2, COARSEST)
    found: dict[int, tuple[float, Fit]] = {}
    for side in (1, -1):
        near = before
        for n in range(0 if side > 0 else -1, side * (MOST_STEPS + 1), side):
            fit = _held(white, start + n * step, near, period_days) if start + n * step > LEAST_IMPACT else None
            if fit is None:
                break
            found[n] = _log_weight(white.layout, start + n * step, fit), fit
            if found[n][0] < max(log for log, _ in found.values()) - NEGLIGIBLE:
                break
            near = fit.state
    if not found:
        raise FitError("no impact parameter of a grazing orbit can be fitted")
    steps = np.array(sorted(found))
    logs, fits = np.array([found[n][0] for n in steps]), [found[n][1] for n in steps]
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    depths, variances = np.array([_depth(fit) for fit in fits]), np.array([_sd(fit)[0] ** 2 for fit in fits])
    mean, centre = float(weight @ depths), int(np.abs(steps - weight @ steps).argmin())
    variance = float(weight @ ((depths - mean) ** 2 + variances)) - float(variances[centre])
    error = float(np.sqrt(max(variance, 0.0))) / mean
    if fits[centre].system.chi2 > least:
        return None
    return Profile(fits[centre], start + int(steps[centre]) * step, mean / float(depths[centre]), error)


def _impact(fit: Fit) -> float:
    return float(fit.state.shared[fit.layout["b"]][0])


def _depth(fit: Fit) -> float:
    """Of AIRS."""
    return float(fit.state.depth[-1])


def _sd(fit: Fit) -> tuple[float, float]:
    """Standard deviations of depth and impact parameter around a fit, everything else free."""
    at, size = fit.layout["b"].start, len(fit.depth_root)
    cov = np.linalg.inv(posterior_precision(fit))
    depth = fit.depth_root[-1] @ cov[:size, :size] @ fit.depth_root[-1]
    return float(np.sqrt(depth)), float(fit.layout.sd[at] * np.sqrt(cov[size + at, size + at]))


def _prior(fit: Fit) -> tuple[float, float, float, float]:
    """Mean and variance of the fit's Gaussian prior of the depth, and of ln depth under the lognormal one like it."""
    mean, variance = float(fit.depth_mean[-1]), float((fit.depth_root[-1] ** 2).sum())
    width = float(np.log1p(variance / mean**2))
    return mean, variance, float(np.log(mean)) - width / 2, width


def _unseen(fit: Fit) -> bool:
    """Whether the depth is smaller than planets are: a white fit sees next to no transit."""
    _, _, centre, width = _prior(fit)
    return bool(np.log(_depth(fit)) < centre - UNLIKELY * np.sqrt(width))


def _opened(white: Fit) -> Fit:
    """The same fit where the catalogue's impact parameter was held: here it never is."""
    sd, where = white.layout.sd.copy(), white.layout["b"]
    sd[where] = np.maximum(sd[where], IMPACT_SD)
    return replace(white, layout=replace(white.layout, sd=sd))


def _held(white: Fit, impact: float, near: State, period_days: float) -> Fit | None:
    """The white fit at an impact parameter, from a state nearby."""
    where = white.layout["b"]
    mean, sd = white.layout.mean.copy(), white.layout.sd.copy()
    mean[where], sd[where] = impact, FIXED
    shared, outwards = near.shared.copy(), impact - abs(float(near.shared[where][0]))
    shared[where] = impact
    radius = np.sqrt(near.depth)
    # further out the planet must reach as far in as before: without any overlap nothing would pull it back
    depth = np.where(impact > 1 - radius, radius + max(outwards, 0.0), radius) ** 2
    layout, cov = replace(white.layout, mean=mean, sd=sd), white.depth_root @ white.depth_root.T
    try:
        return gauss_newton(white.series, layout, State(shared, depth), period_days, white.depth_mean, cov, ITERATIONS)
    except FitError:
        return None


def _log_weight(layout: Layout, impact: float, fit: Fit) -> float:
    """ln of the probability of an impact parameter, up to a constant.

    The fits' Gaussian prior of the depth gives way to the lognormal one of the same mean and variance, which knows
    that depths are positive and that small planets are the more common ones.
    """
    where, depth = layout["b"], _depth(fit)
    pull = (impact - float(layout.mean[where][0])) / float(layout.sd[where][0])
    mean, variance, centre, width = _prior(fit)
    lognormal = -float(np.log(depth)) - (float(np.log(depth)) - centre) ** 2 / (2 * width)
    return log_evidence(fit) - pull**2 / 2 + lognormal + (depth - mean) ** 2 / (2 * variance)
